package queues

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// NoRetries as MaxRetries means one attempt and no more.
const NoRetries = -1

// RateLimit bounds how many messages of a queue are worked on. Per is "second", "minute", "hour" or a duration ("10s").
type RateLimit struct {
	Requests int    `json:"requests"`
	Per      string `json:"per"`
}

// Config is how a queue behaves; what is left out takes the gateway's defaults.
type Config struct {
	// MaxRetries are the attempts after the first; NoRetries for none.
	MaxRetries int
	// VisibilityTimeout is how long a received message is leased, in seconds.
	VisibilityTimeout int
	// DeadLetterQueue gets messages whose attempts are used up; it is created if missing.
	DeadLetterQueue string
	RateLimit       *RateLimit
}

// MarshalJSON leaves out what is not stated.
func (c Config) MarshalJSON() ([]byte, error) {
	body := map[string]any{}
	switch {
	case c.MaxRetries < 0:
		body["maxRetries"] = 0
	case c.MaxRetries > 0:
		body["maxRetries"] = c.MaxRetries
	}
	if c.VisibilityTimeout != 0 {
		body["visibilityTimeout"] = c.VisibilityTimeout
	}
	if c.DeadLetterQueue != "" {
		body["deadLetterQueue"] = c.DeadLetterQueue
	}
	if c.RateLimit != nil {
		body["rateLimit"] = c.RateLimit
	}
	return json.Marshal(body)
}

// CreateParams describes a queue by Config, or by Spec: a Queue's whole spec, which takes the place of Config.
type CreateParams struct {
	Name   string
	Config Config
	Spec   map[string]any
	// Wait is how long the gateway waits until the queue is ready; 0 leaves that to the gateway (10 s).
	Wait time.Duration
}

// Queue is what the gateway tells of a queue. Fields has all of it.
type Queue struct {
	Name      string
	Namespace string
	Fields    map[string]any
}

// Retries says how often and when a message is tried; what is 0 its queue and group say.
type Retries struct {
	// MaxAttempts are all attempts, the first included.
	MaxAttempts int
	// InitialDelay and MaxDelay are in seconds.
	InitialDelay float64
	Multiplier   float64
	MaxDelay     float64
	// Jitter is the share of a delay, 0 to 1, that is spread to both sides; nil leaves it to the queue and group.
	Jitter *float64
}

// NewMessage is a message to be stored.
type NewMessage struct {
	// Payload is anything that encoding/json encodes. Bytes are stored as they are, with ContentType.
	Payload     any
	ContentType string
	// Priority is 1 to 10, higher is more urgent; 0 leaves it to the queue.
	Priority int
	// Delay is in seconds.
	Delay float64
	At    time.Time
	// Expires is in seconds.
	Expires float64
	// DedupID: a message of the same id within the queue's window is stored once. Made by the client where it is empty.
	DedupID     string
	OrderingKey string
	FairnessKey string
	// Unique: at most one message of this key waits, is scheduled or runs; a second one is not stored.
	Unique string
	// UniqueUntil is "end", or "start" where the key is free for others once the message is being worked on.
	UniqueUntil string
	// Replace: it takes the place of the message of this key that is not yet due, which never runs.
	Replace  string
	Type     string
	Metadata map[string]any
	Retry    *Retries
}

// EnqueueParams is a message and its queue.
type EnqueueParams struct {
	Queue       string
	Payload     any
	ContentType string
	Priority    int
	Delay       float64
	At          time.Time
	Expires     float64
	DedupID     string
	OrderingKey string
	FairnessKey string
	Unique      string
	UniqueUntil string
	Replace     string
	Type        string
	Metadata    map[string]any
	Retry       *Retries
}

func (p EnqueueParams) message() NewMessage {
	return NewMessage{
		p.Payload, p.ContentType, p.Priority, p.Delay, p.At, p.Expires, p.DedupID, p.OrderingKey, p.FairnessKey, p.Unique,
		p.UniqueUntil, p.Replace, p.Type, p.Metadata, p.Retry,
	}
}

// EnqueueBatchParams are messages of one queue.
type EnqueueBatchParams struct {
	Queue    string
	Messages []NewMessage
}

// Enqueued is a stored message. Duplicate: one of the same DedupID or Unique was there, and nothing was stored.
type Enqueued struct {
	ID        string
	Duplicate bool
	// Replaced is the id of the message in whose place this one was stored; empty where there was none.
	Replaced string
}

// NoWait as Wait returns at once from an empty queue.
const NoWait time.Duration = -1

// ReceiveParams says what to receive. Group may be left out where the queue has one; MaxMessages 0 is 10; Wait 0 is 20 s.
type ReceiveParams struct {
	Queue       string
	Group       string
	MaxMessages int
	Wait        time.Duration
}

// Message is leased to this client: settle it within Lease, or extend the lease.
type Message struct {
	ID      string
	Receipt string
	Queue   string
	Group   string
	// Payload is decoded JSON as encoding/json decodes into an any, or the []byte of a payload that is not JSON.
	Payload     any
	ContentType string
	Type        string
	// Attempt counts from 1.
	Attempt int
	// MaxAttempts is how many attempts there may be; 0 where the gateway does not say.
	MaxAttempts int
	Priority    int
	EnqueuedAt  time.Time
	Metadata    map[string]any
	OrderingKey string
	// DeadLetter says why the message is a dead letter; nil of others.
	DeadLetter map[string]any
	Lease      time.Duration

	data json.RawMessage
	ctx  context.Context
}

// Decode the payload's JSON into a value of the caller's own type.
func (m *Message) Decode(into any) error {
	if m.data == nil {
		return fmt.Errorf("message %s has a payload of type %s, not JSON", m.ID, m.ContentType)
	}
	return json.Unmarshal(m.data, into)
}

// Context ends when the lease is lost, and when a stopping consumer gives up waiting for the handler.
func (m *Message) Context() context.Context {
	if m.ctx == nil {
		return context.Background()
	}
	return m.ctx
}

// Stats are counts of a queue. Fields has all that the gateway tells.
type Stats struct {
	Waiting   int
	InFlight  int
	Scheduled int
	Dead      int
	Fields    map[string]any
}
