// The cases that every client passes: tests/clients/cases.json, played by tests/clients/case_server.py.
package queues_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"protoqueue/queues"
)

type step struct {
	Call        string
	Args        map[string]any
	Result      any
	Error       *expectedError
	Handler     map[string]string
	Handled     []string
	Errors      []expectedError
	StopAt      string
	GracePeriod float64
}

type expectedError struct {
	Kind       string
	Status     int
	RetryAfter float64
	Contains   string
	Errors     []queues.FieldError
	Message    string
}

var kinds = map[string]error{
	"ConfigurationError": queues.ErrConfiguration, "ConnectionFailed": queues.ErrConnectionFailed,
	"MalformedAnswer": queues.ErrMalformedAnswer, "InvalidRequest": queues.ErrInvalidRequest,
	"Unauthorized": queues.ErrUnauthorized, "Forbidden": queues.ErrForbidden, "NotFound": queues.ErrNotFound,
	"Conflict": queues.ErrConflict, "LeaseLost": queues.ErrLeaseLost, "RateLimited": queues.ErrRateLimited,
	"QueueFull": queues.ErrQueueFull, "Unavailable": queues.ErrUnavailable,
}

func TestCases(t *testing.T) {
	folder := os.Getenv("PROTOQUEUE_CASES")
	if folder == "" {
		folder = "../../../tests/clients"
	}
	data, err := os.ReadFile(filepath.Join(folder, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Key   string
		Cases []struct {
			Name    string
			Options struct {
				Retries *int
				Timeout float64
			}
			Steps []step
		}
	}
	if err := json.Unmarshal(data, &suite); err != nil {
		t.Fatal(err)
	}
	address := caseServer(t, filepath.Join(folder, "case_server.py"))
	for number, one := range suite.Cases {
		t.Run(one.Name, func(t *testing.T) {
			t.Parallel()
			base := fmt.Sprintf("%s/%d", address, number)
			options := []queues.Option{queues.WithBaseURL(base)}
			if one.Options.Retries != nil {
				options = append(options, queues.WithRetries(*one.Options.Retries))
			}
			if one.Options.Timeout != 0 {
				options = append(options, queues.WithTimeout(time.Duration(one.Options.Timeout*float64(time.Second))))
			}
			p := player{t, queues.New(suite.Key, options...), base, suite.Key}
			for _, s := range one.Steps {
				p.play(s)
			}
			report := p.report()
			if !report.Done || len(report.Problems) > 0 {
				t.Fatalf("unused %v, problems %v", report.Unused, report.Problems)
			}
		})
	}
}

func caseServer(t *testing.T, script string) string {
	python := os.Getenv("PYTHON")
	if python == "" {
		python = "python3"
	}
	server := exec.Command(python, script)
	server.Stderr = os.Stderr
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		server.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

type player struct {
	t      *testing.T
	client *queues.Client
	base   string
	key    string
}

type report struct {
	Done     bool
	Unused   []string
	Problems []string
}

func (p player) report() (r report) {
	response, err := http.Get(p.base + "/report")
	if err != nil {
		p.t.Error(err)
		return
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil {
		p.t.Error(err)
	}
	return r
}

func (p player) answered(whole bool) {
	for range 3000 {
		if r := p.report(); r.Done || !whole && len(r.Unused) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.t.Error("the case does not come to its end")
}

func (p player) play(s step) {
	p.t.Helper()
	if s.Call == "consume" {
		p.consume(s)
		return
	}
	result, err := p.call(s)
	switch {
	case s.Error != nil:
		p.same(err, *s.Error)
	case err != nil:
		p.t.Fatal(err)
	case s.Result != nil:
		p.subset(plain(result), s.Result, s.Call)
	}
}

func (p player) call(s step) (any, error) {
	text := func(name string) string { value, _ := s.Args[name].(string); return value }
	number := func(name string) int { value, _ := s.Args[name].(float64); return int(value) }
	switch s.Call {
	case "create":
		params := queues.CreateParams{Name: text("name")}
		params.Spec, _ = s.Args["spec"].(map[string]any)
		if config, ok := s.Args["config"].(map[string]any); ok {
			params.Config = configOf(config)
		}
		return p.client.Create(params)
	case "enqueue":
		m := messageOf(s.Args)
		return p.client.Enqueue(queues.EnqueueParams{
			Queue: text("queue"), Payload: m.Payload, ContentType: m.ContentType, Priority: m.Priority, Delay: m.Delay,
			Expires: m.Expires, DedupID: m.DedupID, OrderingKey: m.OrderingKey, FairnessKey: m.FairnessKey, Unique: m.Unique,
			UniqueUntil: m.UniqueUntil, Replace: m.Replace,
			Type: m.Type, Metadata: m.Metadata, Retry: m.Retry,
		})
	case "enqueueBatch":
		params := queues.EnqueueBatchParams{Queue: text("queue")}
		for _, item := range s.Args["messages"].([]any) {
			params.Messages = append(params.Messages, messageOf(item.(map[string]any)))
		}
		return p.client.EnqueueBatch(params)
	case "receive":
		params := queues.ReceiveParams{Queue: text("queue"), Group: text("group"), MaxMessages: number("maxMessages")}
		if wait, stated := s.Args["wait"]; stated && wait == 0.0 {
			params.Wait = queues.NoWait
		}
		return p.client.Receive(params)
	case "ack":
		return nil, p.client.Ack(text("id"))
	case "nack":
		if _, stated := s.Args["delay"]; stated {
			return nil, p.client.Nack(text("id"), number("delay"))
		}
		return nil, p.client.Nack(text("id"))
	case "reject":
		return nil, p.client.Reject(text("id"), text("reason"))
	case "throttle":
		return nil, p.client.Throttle(text("id"), number("delay"), text("reason"))
	case "extend":
		return nil, p.client.Extend(text("id"), number("seconds"))
	case "stats":
		return p.client.Stats(text("queue"))
	}
	return nil, fmt.Errorf("no call %s", s.Call)
}

func (p player) same(err error, expected expectedError) {
	p.t.Helper()
	if err == nil {
		p.t.Fatalf("no error, expected %+v", expected)
	}
	var refused *queues.APIError
	isRefusal := errors.As(err, &refused)
	if kind, ok := kinds[expected.Kind]; ok && !errors.Is(err, kind) {
		p.t.Errorf("%v is not %s", err, expected.Kind)
	}
	if expected.Kind == "Conflict" && errors.Is(err, queues.ErrLeaseLost) {
		p.t.Errorf("%v is a lost lease", err)
	}
	if expected.Status != 0 && (!isRefusal || refused.Status != expected.Status) {
		p.t.Errorf("%v is not HTTP %d", err, expected.Status)
	}
	if expected.RetryAfter != 0 && (!isRefusal || refused.RetryAfter.Seconds() != expected.RetryAfter) {
		p.t.Errorf("%v has no Retry-After of %v", err, expected.RetryAfter)
	}
	if expected.Errors != nil && (!isRefusal || !reflect.DeepEqual(refused.Errors, expected.Errors)) {
		p.t.Errorf("%v has not the fields %v", err, expected.Errors)
	}
	if !strings.Contains(err.Error(), expected.Contains) {
		p.t.Errorf("%q does not have %q", err.Error(), expected.Contains)
	}
	if strings.Contains(fmt.Sprintf("%+v", err), p.key) {
		p.t.Errorf("an error shows the key")
	}
}

type failure struct {
	err     error
	message string
}

func (p player) consume(s step) {
	p.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var mutex sync.Mutex
	handled, failures := []string{}, []failure{}
	stopping := make(chan struct{})
	config := queues.ConsumerConfig{
		Concurrency: int(s.Args["concurrency"].(float64)),
		GracePeriod: time.Duration(s.GracePeriod * float64(time.Second)),
		Handler: func(message *queues.Message) error {
			mutex.Lock()
			handled = append(handled, message.ID)
			mutex.Unlock()
			if s.StopAt == message.ID {
				close(stopping)
				stop()
			}
			return p.act(s.Handler[message.ID], message)
		},
		OnError: func(err error, message *queues.Message) {
			id := ""
			if message != nil {
				id = message.ID
			}
			mutex.Lock()
			failures = append(failures, failure{err, id})
			mutex.Unlock()
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- p.client.ConsumeContext(ctx, s.Args["queue"].(string), config) }()
	if s.Error != nil {
		p.same(<-ended, *s.Error)
		return
	}
	if s.StopAt == "" {
		p.answered(true)
		for range 6000 {
			mutex.Lock()
			all := len(failures) >= len(s.Errors)
			mutex.Unlock()
			if all {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	} else {
		<-stopping
	}
	stop()
	if err := <-ended; err != nil {
		p.t.Error(err)
	}
	mutex.Lock()
	defer mutex.Unlock()
	slices.Sort(handled)
	if !slices.Equal(handled, s.Handled) {
		p.t.Errorf("handled %v, expected %v", handled, s.Handled)
	}
	if s.Errors != nil && len(failures) != len(s.Errors) {
		p.t.Fatalf("failures %v, expected %v", failures, s.Errors)
	}
	// Handlers run side by side: which of them fails first is left open.
	slices.SortStableFunc(failures, func(a, b failure) int { return strings.Compare(a.message, b.message) })
	for i, expected := range s.Errors {
		p.same(failures[i].err, expected)
		if failures[i].message != expected.Message {
			p.t.Errorf("%v came with message %q, expected %q", failures[i].err, failures[i].message, expected.Message)
		}
	}
}

func (p player) act(what string, message *queues.Message) error {
	verb, seconds, _ := strings.Cut(what, " ")
	switch {
	case what == "fail":
		panic("the handler failed")
	case what == "reject":
		return queues.Reject("never")
	case what == "retry":
		return queues.Retry(7)
	case what == "throttle":
		return queues.Throttle(30, "429 from the API")
	case what == "ack":
		return p.client.Ack(message.ID)
	case what == "until answered":
		p.answered(false)
	case verb == "hold":
		pause, _ := time.ParseDuration(seconds + "s")
		time.Sleep(pause)
	case what == "until aborted":
		<-message.Context().Done()
		return context.Cause(message.Context())
	}
	return nil
}

func configOf(fields map[string]any) (config queues.Config) {
	number := func(name string) int { value, _ := fields[name].(float64); return int(value) }
	config.MaxRetries, config.VisibilityTimeout = number("maxRetries"), number("visibilityTimeout")
	if retries, stated := fields["maxRetries"]; stated && retries == 0.0 {
		config.MaxRetries = queues.NoRetries
	}
	config.DeadLetterQueue, _ = fields["deadLetterQueue"].(string)
	if rate, ok := fields["rateLimit"].(map[string]any); ok {
		config.RateLimit = &queues.RateLimit{Requests: int(rate["requests"].(float64)), Per: rate["per"].(string)}
	}
	return config
}

func retriesOf(fields map[string]any) *queues.Retries {
	number := func(name string) float64 { value, _ := fields[name].(float64); return value }
	retries := &queues.Retries{
		MaxAttempts: int(number("maxAttempts")), InitialDelay: number("initialDelay"), Multiplier: number("multiplier"),
		MaxDelay: number("maxDelay"),
	}
	if jitter, ok := fields["jitter"].(float64); ok {
		retries.Jitter = &jitter
	}
	return retries
}

func messageOf(fields map[string]any) queues.NewMessage {
	text := func(name string) string { value, _ := fields[name].(string); return value }
	number := func(name string) float64 { value, _ := fields[name].(float64); return value }
	message := queues.NewMessage{
		Payload: fields["payload"], ContentType: text("contentType"), Priority: int(number("priority")),
		Delay: number("delay"), Expires: number("expires"), DedupID: text("dedupId"), OrderingKey: text("orderingKey"),
		FairnessKey: text("fairnessKey"), Unique: text("unique"), UniqueUntil: text("uniqueUntil"), Replace: text("replace"),
		Type: text("type"),
	}
	message.Metadata, _ = fields["metadata"].(map[string]any)
	if retry, ok := fields["retry"].(map[string]any); ok {
		message.Retry = retriesOf(retry)
	}
	if packed, ok := message.Payload.(map[string]any); ok {
		if encoded, ok := packed["$bytes"].(string); ok {
			message.Payload, _ = base64.StdEncoding.DecodeString(encoded)
		}
	}
	return message
}

// plain is a result as the cases have it.
func plain(result any) any {
	switch it := result.(type) {
	case *queues.Enqueued:
		return map[string]any{"id": it.ID, "duplicate": it.Duplicate, "replaced": it.Replaced}
	case []*queues.Enqueued:
		return each(it, func(one *queues.Enqueued) any { return plain(one) })
	case []*queues.Message:
		return each(it, func(one *queues.Message) any { return plain(one) })
	case *queues.Message:
		payload := it.Payload
		if data, ok := payload.([]byte); ok {
			payload = map[string]any{"$bytes": base64.StdEncoding.EncodeToString(data)}
		}
		return map[string]any{
			"id": it.ID, "receipt": it.Receipt, "queue": it.Queue, "group": it.Group, "payload": payload,
			"contentType": it.ContentType, "type": it.Type, "attempt": float64(it.Attempt),
			"maxAttempts": float64(it.MaxAttempts), "priority": float64(it.Priority),
			"enqueuedAt": it.EnqueuedAt.Format(time.RFC3339), "metadata": it.Metadata, "orderingKey": it.OrderingKey,
			"deadLetter": it.DeadLetter, "leaseSeconds": it.Lease.Seconds(),
		}
	case *queues.Stats:
		return map[string]any{
			"waiting": float64(it.Waiting), "inFlight": float64(it.InFlight), "scheduled": float64(it.Scheduled),
			"dead": float64(it.Dead),
		}
	case *queues.Queue:
		return map[string]any{"name": it.Name}
	}
	return result
}

func each[T any](items []T, shown func(T) any) []any {
	all := make([]any, len(items))
	for i, item := range items {
		all[i] = shown(item)
	}
	return all
}

// subset: what is expected is there; there may be more fields.
func (p player) subset(seen, expected any, where string) {
	p.t.Helper()
	switch it := expected.(type) {
	case map[string]any:
		fields, ok := seen.(map[string]any)
		if !ok {
			p.t.Errorf("%s: %v, expected %v", where, seen, expected)
		}
		for name, value := range it {
			p.subset(fields[name], value, where+"."+name)
		}
	case []any:
		items, _ := seen.([]any)
		if len(items) != len(it) {
			p.t.Fatalf("%s: %v, expected %v", where, seen, expected)
		}
		for i, value := range it {
			p.subset(items[i], value, fmt.Sprintf("%s[%d]", where, i))
		}
	default:
		if !reflect.DeepEqual(seen, expected) {
			p.t.Errorf("%s: %#v, expected %#v", where, seen, expected)
		}
	}
}

func TestWhatIsSetUpWronglyIsTheErrorOfEachCall(t *testing.T) {
	t.Setenv("PROTOQUEUE_API_KEY", "")
	t.Setenv("PROTOQUEUE_GATEWAY_URL", "")
	for name, client := range map[string]*queues.Client{
		"no key":      queues.New("", queues.WithBaseURL("http://gateway")),
		"no address":  queues.New("k"),
		"no scheme":   queues.New("k", queues.WithBaseURL("gateway:8080")),
		"a line feed": queues.New("k\n", queues.WithBaseURL("http://gateway")),
	} {
		if _, err := client.Stats("email"); !errors.Is(err, queues.ErrConfiguration) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAClientDoesNotShowItsKey(t *testing.T) {
	client := queues.New("pq_secret", queues.WithBaseURL("http://gateway"))
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if shown := fmt.Sprintf(format, client); strings.Contains(shown, "pq_secret") {
			t.Errorf("%s shows %s", format, shown)
		}
	}
}

func TestAContextEndsACallAndItsRetries(t *testing.T) {
	client := queues.New("k", queues.WithBaseURL("http://127.0.0.1:1"))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.StatsContext(ctx, "email"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
