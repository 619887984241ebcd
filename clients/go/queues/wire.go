package queues

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const defaultLease = 30 * time.Second

var dnsName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// queuePath is the path of "name" or "namespace/name".
func queuePath(queue string) (string, error) {
	namespace, name, both := strings.Cut(queue, "/")
	if !dnsName.MatchString(namespace) || both && !dnsName.MatchString(name) {
		return "", configurationError("%q is not a queue name (name or namespace/name)", queue)
	}
	if both {
		return "/v1/namespaces/" + namespace + "/queues/" + name, nil
	}
	return "/v1/queues/" + namespace, nil
}

// encode is the body of one message. An id for deduplication is made here, so that a repeated request stores it once.
func (m NewMessage) encode() (map[string]any, error) {
	body := map[string]any{"dedupId": m.DedupID}
	if m.DedupID == "" {
		token := make([]byte, 16)
		if _, err := rand.Read(token); err != nil {
			return nil, err
		}
		body["dedupId"] = "c-" + hex.EncodeToString(token)
	}
	if data, isBytes := m.Payload.([]byte); isBytes {
		body["payloadBase64"] = base64.StdEncoding.EncodeToString(data)
		body["contentType"] = "application/octet-stream"
	} else {
		encoded, err := json.Marshal(m.Payload)
		if err != nil {
			return nil, configurationError("the payload cannot be said in JSON: %v", err)
		}
		body["payload"] = json.RawMessage(encoded)
	}
	texts := map[string]string{
		"contentType": m.ContentType, "orderingKey": m.OrderingKey, "fairnessKey": m.FairnessKey, "unique": m.Unique,
		"uniqueUntil": m.UniqueUntil, "replace": m.Replace, "type": m.Type,
	}
	for name, text := range texts {
		if text != "" {
			body[name] = text
		}
	}
	if m.Priority != 0 {
		body["priority"] = m.Priority
	}
	if m.Delay != 0 {
		body["delay"] = m.Delay
	}
	if m.Expires != 0 {
		body["expires"] = m.Expires
	}
	if !m.At.IsZero() {
		body["at"] = m.At.UTC().Format(time.RFC3339Nano)
	}
	if m.Metadata != nil {
		body["metadata"] = m.Metadata
	}
	if m.Retry != nil {
		body["retry"] = m.Retry.encode()
	}
	return body, nil
}

func (r Retries) encode() map[string]any {
	body := map[string]any{}
	if r.MaxAttempts != 0 {
		body["maxAttempts"] = r.MaxAttempts
	}
	for name, value := range map[string]float64{
		"initialDelay": r.InitialDelay, "multiplier": r.Multiplier, "maxDelay": r.MaxDelay,
	} {
		if value != 0 {
			body[name] = value
		}
	}
	if r.Jitter != nil {
		body["jitter"] = *r.Jitter
	}
	return body
}

type wireEnqueued struct {
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"`
	Matched   string `json:"matched"`
	Replaced  string `json:"replaced"`
}

// decode gives what was stored. A duplicate of an id that the client made is the client's own repeated request.
func (w wireEnqueued) decode(madeHere bool) (*Enqueued, error) {
	if w.ID == "" {
		return nil, malformedAnswer("the answer has no text %q", "id")
	}
	isAnother := w.Duplicate && (!madeHere || w.Matched == "unique")
	return &Enqueued{ID: w.ID, Duplicate: isAnother, Replaced: w.Replaced}, nil
}

type wireMessage struct {
	ID            string          `json:"id"`
	Receipt       string          `json:"receipt"`
	Group         string          `json:"group"`
	Payload       json.RawMessage `json:"payload"`
	PayloadBase64 *string         `json:"payloadBase64"`
	ContentType   string          `json:"contentType"`
	Type          string          `json:"type"`
	Attempt       int             `json:"attempt"`
	MaxAttempts   int             `json:"maxAttempts"`
	Priority      int             `json:"priority"`
	EnqueuedAt    time.Time       `json:"enqueuedAt"`
	Metadata      map[string]any  `json:"metadata"`
	OrderingKey   string          `json:"orderingKey"`
	DeadLetter    map[string]any  `json:"deadLetter"`
	LeaseSeconds  float64         `json:"leaseSeconds"`
	LeasedUntil   time.Time       `json:"leasedUntil"`
}

// decode a message of an answer that the gateway gave at answeredAt, by its own clock.
func (w wireMessage) decode(queue, group string, answeredAt time.Time) (*Message, error) {
	if w.ID == "" || w.Receipt == "" {
		return nil, malformedAnswer("a message of the answer has no id or no receipt")
	}
	message := &Message{
		ID: w.ID, Receipt: w.Receipt, Queue: queue, Group: group, ContentType: w.ContentType, Type: w.Type, Attempt: w.Attempt,
		MaxAttempts: w.MaxAttempts, Priority: w.Priority, EnqueuedAt: w.EnqueuedAt, Metadata: w.Metadata, OrderingKey: w.OrderingKey,
		DeadLetter: w.DeadLetter, Lease: w.lease(answeredAt),
	}
	if w.Group != "" {
		message.Group = w.Group
	}
	if w.PayloadBase64 != nil {
		data, err := base64.StdEncoding.DecodeString(*w.PayloadBase64)
		if err != nil {
			return nil, malformedAnswer("payloadBase64 is not base64: %v", err)
		}
		message.Payload = data
		return message, nil
	}
	message.data = bytes.Clone(w.Payload)
	if len(w.Payload) > 0 {
		if err := json.Unmarshal(w.Payload, &message.Payload); err != nil {
			return nil, malformedAnswer("a payload is not JSON: %v", err)
		}
	}
	return message, nil
}

// lease is how long the lease lasts from now on. The clocks of client and gateway need not agree.
func (w wireMessage) lease(answeredAt time.Time) time.Duration {
	switch {
	case w.LeaseSeconds > 0:
		return time.Duration(w.LeaseSeconds * float64(time.Second))
	case w.LeasedUntil.IsZero():
		return defaultLease
	}
	return max(time.Second, w.LeasedUntil.Sub(answeredAt))
}

// answeredAt is the time of an answer by the gateway's clock, or by ours where it does not say.
func answeredAt(header http.Header) time.Time {
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		return date
	}
	return time.Now()
}
