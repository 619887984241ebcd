package queues

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	firstPause = 100 * time.Millisecond
	mostPause  = 20 * time.Second
	// A longer Retry-After is the caller's to decide about.
	longestRetryAfter = 30 * time.Second
	// What a proxy or a stranger answers in place of JSON is quoted up to here.
	quoted = 200
	// More than any answer of the gateway: 100 messages of 8 MiB.
	mostBytes = 1 << 30
)

type request struct {
	method  string
	path    string
	query   url.Values
	body    any
	wait    time.Duration // on top of the timeout
	retries int           // -1: the client's
	timeout time.Duration // 0: the client's
}

// send a request, repeated where that is safe, and decode the answer's JSON into into, unless that is nil.
func (c *Client) send(ctx context.Context, r request, into any) (http.Header, error) {
	if c.err != nil {
		return nil, c.err
	}
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, configurationError("the request cannot be said in JSON: %v", err)
		}
	}
	retries := r.retries
	if retries < 0 {
		retries = c.retries
	}
	for failures := 0; ; failures++ {
		header, err := c.once(ctx, r, body, into)
		if err == nil || failures >= retries || !isRetried(err) {
			return header, err
		}
		asked := retryAfter(err)
		if asked > longestRetryAfter {
			return nil, err
		}
		if !sleep(ctx, max(asked, backoff(failures))) {
			return nil, ctx.Err()
		}
	}
}

func (c *Client) once(ctx context.Context, r request, body []byte, into any) (http.Header, error) {
	limit := c.timeout
	if r.timeout > 0 {
		limit = r.timeout
	}
	limit += r.wait
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	address := c.baseURL + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	outgoing, err := http.NewRequestWithContext(limited, r.method, address, bytes.NewReader(body))
	if err != nil {
		return nil, configurationError("%s %s: %v", r.method, r.path, err)
	}
	outgoing.Header.Set("Authorization", "Bearer "+c.apiKey)
	outgoing.Header.Set("Accept", "application/json")
	outgoing.Header.Set("User-Agent", "protoqueue-go")
	if body != nil {
		outgoing.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(outgoing)
	if err != nil {
		return nil, c.connectionFailed(ctx, r, limit, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, mostBytes))
	if err != nil {
		return nil, c.connectionFailed(ctx, r, limit, err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, refusal(response, data)
	}
	if into == nil {
		return response.Header, nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		if !json.Valid(data) {
			return nil, malformedAnswer("HTTP %d without JSON; does the base URL name a gateway? %s", response.StatusCode, quote(data))
		}
		return nil, malformedAnswer("the answer is of another shape: %v", err)
	}
	return response.Header, nil
}

func (c *Client) connectionFailed(ctx context.Context, r request, limit time.Duration, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v", limit)
	}
	var inner *url.Error
	if errors.As(err, &inner) { // which has the whole URL once more
		err = inner.Err
	}
	return &kindError{ErrConnectionFailed, fmt.Sprintf("%s %s%s: %v", r.method, c.baseURL, r.path, err), err}
}

func refusal(response *http.Response, data []byte) error {
	var problem map[string]any
	_ = json.Unmarshal(data, &problem)
	e := newAPIError(response.StatusCode, problem)
	e.RequestID = response.Header.Get("X-Request-Id")
	e.RetryAfter = parseRetryAfter(response.Header.Get("Retry-After"), time.Now())
	if e.Detail == "" && e.Title == "" {
		switch {
		case response.StatusCode >= 300 && response.StatusCode < 400:
			e.Detail = "the address redirects, and a key is sent to no other address than the base URL"
		case problem == nil && len(data) > 0:
			e.Detail = quote(data)
		default:
			e.Detail = http.StatusText(response.StatusCode)
		}
	}
	return e
}

func isRetried(err error) bool {
	var refused *APIError
	if errors.As(err, &refused) {
		switch refused.Status {
		case 429, 502, 503, 504:
			return true
		}
		return false
	}
	return errors.Is(err, ErrConnectionFailed)
}

func retryAfter(err error) time.Duration {
	var refused *APIError
	if errors.As(err, &refused) {
		return refused.RetryAfter
	}
	return 0
}

// parseRetryAfter reads a number of seconds, or a date.
func parseRetryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(strings.TrimSpace(header), 64); err == nil && seconds > 0 && seconds < 1e9 {
		return time.Duration(seconds * float64(time.Second))
	}
	if date, err := http.ParseTime(header); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// backoff is the pause before the next try; random, so that many clients do not come back together.
func backoff(failures int) time.Duration {
	pause := mostPause
	if failures < 8 {
		pause = min(mostPause, firstPause<<failures)
	}
	return time.Duration(float64(pause) * (0.5 + rand.Float64()/2))
}

// sleep for so long; false when the context ended before.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func quote(data []byte) string {
	if len(data) > quoted {
		return fmt.Sprintf("%q…", data[:quoted])
	}
	return fmt.Sprintf("%q", data)
}
