package queues

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	defaultRetries  = 5
	defaultTimeout  = 30 * time.Second
	defaultWait     = 20 * time.Second
	defaultMessages = 10
	readyWait       = 10 * time.Second
)

// Client is a client of ProtoQueue's gateway. It is safe for use by several goroutines.
type Client struct {
	apiKey  string
	baseURL string
	http    *http.Client
	retries int
	timeout time.Duration
	leases  leases
	err     error // what New found; each call returns it
}

// Option changes how a Client works.
type Option func(*Client)

// WithBaseURL is the gateway's address; PROTOQUEUE_GATEWAY_URL is read without it.
func WithBaseURL(address string) Option { return func(c *Client) { c.baseURL = address } }

// WithHTTPClient sets what sends the requests. Redirects are not followed whatever it says.
func WithHTTPClient(client *http.Client) Option { return func(c *Client) { c.http = client } }

// WithRetries is how often a request is repeated; 5 without it.
func WithRetries(retries int) Option { return func(c *Client) { c.retries = max(0, retries) } }

// WithTimeout is what a request may take, 30 s without it; a long poll gets its own wait on top.
func WithTimeout(timeout time.Duration) Option { return func(c *Client) { c.timeout = timeout } }

// New makes a client. PROTOQUEUE_API_KEY is read where apiKey is empty. What is set up wrongly is the error of each call.
func New(apiKey string, options ...Option) *Client {
	c := &Client{apiKey: apiKey, retries: defaultRetries, timeout: defaultTimeout}
	for _, option := range options {
		option(c)
	}
	if c.apiKey == "" {
		c.apiKey = os.Getenv("PROTOQUEUE_API_KEY")
	}
	if c.baseURL == "" {
		c.baseURL = os.Getenv("PROTOQUEUE_GATEWAY_URL")
	}
	c.http = withoutRedirects(c.http)
	c.err = c.check()
	return c
}

func (c *Client) check() error {
	switch {
	case c.apiKey == "":
		return configurationError("no API key is given, and PROTOQUEUE_API_KEY is not set")
	case c.baseURL == "":
		return configurationError("no base URL is given, and PROTOQUEUE_GATEWAY_URL is not set")
	case strings.ContainsFunc(c.apiKey, func(r rune) bool { return r <= ' ' || r > '~' }):
		return configurationError("the API key has characters that no key has")
	}
	address, err := url.Parse(c.baseURL)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return configurationError("the base URL has to begin with http:// or https:// and a host")
	}
	if address.User != nil || address.RawQuery != "" || address.Fragment != "" {
		return configurationError("the base URL has a user, a query or a fragment; it takes a scheme, a host and a path")
	}
	c.baseURL = strings.TrimRight(c.baseURL, "/")
	return nil
}

// withoutRedirects is a copy that does not carry the key to another address. Without a client of the caller's own,
// connections are kept for as many requests at a time as a consumer makes.
func withoutRedirects(given *http.Client) *http.Client {
	var client http.Client
	if given != nil {
		client = *given
	} else if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		own := transport.Clone()
		own.MaxIdleConnsPerHost = 100
		client.Transport = own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// Create is CreateContext without a context.
func (c *Client) Create(params CreateParams) (*Queue, error) {
	return c.CreateContext(context.Background(), params)
}

// CreateContext creates a queue and waits until it is ready. One that exists just so is returned, one that exists
// otherwise is ErrConflict.
func (c *Client) CreateContext(ctx context.Context, params CreateParams) (*Queue, error) {
	path, err := queuePath(params.Name)
	if err != nil {
		return nil, err
	}
	cut := strings.LastIndex(path, "/")
	body := map[string]any{"name": path[cut+1:]}
	if params.Spec != nil {
		body["spec"] = params.Spec
	} else {
		body["config"] = params.Config
	}
	r := request{method: "POST", path: path[:cut], body: body, wait: readyWait, retries: -1}
	if params.Wait > 0 {
		r.wait = params.Wait
		r.query = url.Values{"wait": {seconds(params.Wait)}}
	}
	var fields map[string]any
	if _, err := c.send(ctx, r, &fields); err != nil {
		return nil, err
	}
	queue := &Queue{Fields: fields}
	queue.Name, _ = fields["name"].(string)
	queue.Namespace, _ = fields["namespace"].(string)
	if queue.Name == "" {
		return nil, malformedAnswer("the answer has no text %q", "name")
	}
	return queue, nil
}

// Enqueue is EnqueueContext without a context.
func (c *Client) Enqueue(params EnqueueParams) (*Enqueued, error) {
	return c.EnqueueContext(context.Background(), params)
}

// EnqueueContext stores a message. ErrQueueFull when the queue's limits are reached and stay so.
func (c *Client) EnqueueContext(ctx context.Context, params EnqueueParams) (*Enqueued, error) {
	path, err := queuePath(params.Queue)
	if err != nil {
		return nil, err
	}
	body, err := params.message().encode()
	if err != nil {
		return nil, err
	}
	var stored wireEnqueued
	if _, err := c.send(ctx, request{method: "POST", path: path + "/messages", body: body, retries: -1}, &stored); err != nil {
		return nil, err
	}
	return stored.decode(params.DedupID == "")
}

// EnqueueBatch is EnqueueBatchContext without a context.
func (c *Client) EnqueueBatch(params EnqueueBatchParams) ([]*Enqueued, error) {
	return c.EnqueueBatchContext(context.Background(), params)
}

// EnqueueBatchContext stores messages, all or none. The gateway bounds how many (MAX_BATCH_SIZE, 100 by default).
func (c *Client) EnqueueBatchContext(ctx context.Context, params EnqueueBatchParams) ([]*Enqueued, error) {
	path, err := queuePath(params.Queue)
	if err != nil {
		return nil, err
	}
	messages := make([]map[string]any, len(params.Messages))
	for i, message := range params.Messages {
		if messages[i], err = message.encode(); err != nil {
			return nil, err
		}
	}
	var answer struct {
		Messages []wireEnqueued `json:"messages"`
	}
	r := request{method: "POST", path: path + "/messages/batch", body: map[string]any{"messages": messages}, retries: -1}
	if _, err := c.send(ctx, r, &answer); err != nil {
		return nil, err
	}
	if len(answer.Messages) != len(messages) {
		return nil, malformedAnswer("%d messages were sent, and the answer has %d", len(messages), len(answer.Messages))
	}
	stored := make([]*Enqueued, len(messages))
	for i, one := range answer.Messages {
		if stored[i], err = one.decode(params.Messages[i].DedupID == ""); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// Receive is ReceiveContext without a context.
func (c *Client) Receive(params ReceiveParams) ([]*Message, error) {
	return c.ReceiveContext(context.Background(), params)
}

// ReceiveContext leases messages, waiting for the first; none when none came. A context that ends gives them back.
func (c *Client) ReceiveContext(ctx context.Context, params ReceiveParams) ([]*Message, error) {
	return c.receive(ctx, params, -1)
}

func (c *Client) receive(ctx context.Context, params ReceiveParams, retries int) ([]*Message, error) {
	path, err := queuePath(params.Queue)
	if err != nil {
		return nil, err
	}
	wait, most := params.Wait, params.MaxMessages
	if wait == 0 {
		wait = defaultWait
	}
	wait = max(0, wait)
	if most == 0 {
		most = defaultMessages
	}
	query := url.Values{"maxMessages": {strconv.Itoa(most)}, "wait": {seconds(wait)}}
	if params.Group != "" {
		query.Set("group", params.Group)
	}
	var answer struct {
		Messages []json.RawMessage `json:"messages"`
	}
	r := request{method: "GET", path: path + "/messages", query: query, wait: wait, retries: retries}
	header, err := c.send(ctx, r, &answer)
	if err != nil {
		return nil, err
	}
	if answer.Messages == nil {
		return nil, malformedAnswer("the answer has no list %q", "messages")
	}
	messages := make([]*Message, len(answer.Messages))
	for i, raw := range answer.Messages {
		var one wireMessage
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, malformedAnswer("a message is of another shape: %v", err)
		}
		if messages[i], err = one.decode(params.Queue, params.Group, answeredAt(header)); err != nil {
			return nil, err
		}
	}
	c.leases.add(messages)
	return messages, nil
}

// Stats is StatsContext without a context.
func (c *Client) Stats(queue string) (*Stats, error) {
	return c.StatsContext(context.Background(), queue)
}

// StatsContext counts what is in a queue.
func (c *Client) StatsContext(ctx context.Context, queue string) (*Stats, error) {
	path, err := queuePath(queue)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if _, err := c.send(ctx, request{method: "GET", path: path + "/stats", retries: -1}, &fields); err != nil {
		return nil, err
	}
	stats := &Stats{Fields: fields}
	counts := map[string]*int{
		"waiting": &stats.Waiting, "inFlight": &stats.InFlight, "scheduled": &stats.Scheduled, "dead": &stats.Dead,
	}
	for name, into := range counts {
		number, ok := fields[name].(float64)
		if !ok {
			return nil, malformedAnswer("the answer lacks a number among waiting, inFlight, scheduled and dead: %q", name)
		}
		*into = int(number)
	}
	return stats, nil
}

func seconds(duration time.Duration) string {
	return strconv.FormatFloat(math.Round(duration.Seconds()*1000)/1000, 'f', -1, 64)
}

// String hides the key.
func (c *Client) String() string { return fmt.Sprintf("queues.Client(%s)", c.baseURL) }

// GoString hides the key.
func (c *Client) GoString() string { return c.String() }
