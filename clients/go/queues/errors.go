package queues

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"
)

// What can go wrong, for [errors.Is].
var (
	// ErrConfiguration: the client or the call is set up wrongly; nothing was sent.
	ErrConfiguration = errors.New("configuration")
	// ErrConnectionFailed: no answer, retries included; whether the request took effect is unknown.
	ErrConnectionFailed = errors.New("connection failed")
	// ErrMalformedAnswer: what answered does not speak the gateway's protocol.
	ErrMalformedAnswer = errors.New("malformed answer")
	// ErrInvalidRequest: HTTP 400, 413, 415, 422.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrUnauthorized: HTTP 401.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden: HTTP 403.
	ErrForbidden = errors.New("forbidden")
	// ErrNotFound: HTTP 404.
	ErrNotFound = errors.New("not found")
	// ErrConflict: HTTP 409; ErrLeaseLost is one.
	ErrConflict = errors.New("conflict")
	// ErrLeaseLost: the message is no longer this client's to settle.
	ErrLeaseLost = errors.New("lease lost")
	// ErrRateLimited: HTTP 429; ErrQueueFull is one.
	ErrRateLimited = errors.New("rate limited")
	// ErrQueueFull: the queue has reached its limits; nothing was stored.
	ErrQueueFull = errors.New("queue full")
	// ErrUnavailable: HTTP 5xx: the gateway, NATS or Kubernetes is away.
	ErrUnavailable = errors.New("unavailable")
)

// FieldError is what the gateway refused: Pointer is a JSON pointer into the request's body, Parameter one of its query.
type FieldError struct {
	Pointer   string `json:"pointer,omitempty"`
	Parameter string `json:"parameter,omitempty"`
	Detail    string `json:"detail"`
}

// APIError is a refusal of the gateway.
type APIError struct {
	Status int
	// Code is the word to switch on: QueueFull, LeaseLost, QueueNotFound, …
	Code   string
	Title  string
	Detail string
	Errors []FieldError
	// RequestID is what the gateway's log has for this request.
	RequestID string
	// RetryAfter is how long the gateway asks to be left alone; 0 where it does not.
	RetryAfter time.Duration

	kinds []error
}

func (e *APIError) Error() string {
	text := e.Detail
	if text == "" {
		text = e.Title
	}
	if text == "" {
		text = "the gateway refused the request"
	}
	for _, field := range e.Errors {
		text += "; " + field.Pointer + field.Parameter + ": " + field.Detail
	}
	if e.RequestID != "" {
		return fmt.Sprintf("%s (HTTP %d, request %s)", text, e.Status, e.RequestID)
	}
	return fmt.Sprintf("%s (HTTP %d)", text, e.Status)
}

// Is reports whether the refusal is of that kind; a lost lease is a conflict too.
func (e *APIError) Is(target error) bool {
	for _, kind := range e.kinds {
		if kind == target {
			return true
		}
	}
	return false
}

func newAPIError(status int, problem map[string]any) *APIError {
	e := &APIError{Status: status}
	e.Code, _ = problem["code"].(string)
	e.Title, _ = problem["title"].(string)
	e.Detail, _ = problem["detail"].(string)
	if e.Code == "" {
		kind, _ := problem["type"].(string)
		e.Code = path.Base(kind)
	}
	fields, _ := problem["errors"].([]any)
	for _, item := range fields {
		field, _ := item.(map[string]any)
		pointer, _ := field["pointer"].(string)
		parameter, _ := field["parameter"].(string)
		detail, _ := field["detail"].(string)
		e.Errors = append(e.Errors, FieldError{Pointer: pointer, Parameter: parameter, Detail: detail})
	}
	e.kinds = kindsOf(status, e.Code)
	return e
}

func kindsOf(status int, code string) []error {
	switch {
	case strings.EqualFold(code, "LeaseLost"):
		return []error{ErrLeaseLost, ErrConflict}
	case strings.EqualFold(code, "QueueFull"):
		return []error{ErrQueueFull, ErrRateLimited}
	case status == http.StatusUnauthorized:
		return []error{ErrUnauthorized}
	case status == http.StatusForbidden:
		return []error{ErrForbidden}
	case status == http.StatusNotFound:
		return []error{ErrNotFound}
	case status == http.StatusConflict:
		return []error{ErrConflict}
	case status == http.StatusTooManyRequests:
		return []error{ErrRateLimited}
	case status == 400 || status == 413 || status == 415 || status == 422:
		return []error{ErrInvalidRequest}
	case status >= 500:
		return []error{ErrUnavailable}
	}
	return nil
}

// kindError is an error of the client's own: its text alone, and its kind for errors.Is.
type kindError struct {
	kind  error
	text  string
	cause error
}

func (e *kindError) Error() string        { return e.text }
func (e *kindError) Is(target error) bool { return target == e.kind }
func (e *kindError) Unwrap() error        { return e.cause }

func configurationError(format string, values ...any) error {
	return &kindError{kind: ErrConfiguration, text: fmt.Sprintf(format, values...)}
}

func malformedAnswer(format string, values ...any) error {
	return &kindError{kind: ErrMalformedAnswer, text: fmt.Sprintf(format, values...)}
}

type rejectError struct{ reason string }

func (e *rejectError) Error() string { return e.reason }

// Reject is what a handler returns to send the task to the dead letters now, without further attempts.
func Reject(reason string) error { return &rejectError{reason} }

type throttleError struct {
	delay  int
	reason string
}

func (e *throttleError) Error() string {
	if e.reason != "" {
		return e.reason
	}
	return fmt.Sprintf("throttled for %d s", e.delay)
}

// Throttle is what a handler returns when what it calls is busy: the message comes again after so many seconds, as the
// same attempt, and until then nobody gets a message of the group. The reason is shown to whoever looks at the group.
func Throttle(seconds int, reason string) error { return &throttleError{seconds, reason} }

type retryError struct{ delay int }

func (e *retryError) Error() string { return fmt.Sprintf("again in %d s", e.delay) }

// Retry is what a handler returns when the attempt failed and the next one comes after so many seconds, in place of the
// queue's back-off.
func Retry(seconds int) error { return &retryError{seconds} }
