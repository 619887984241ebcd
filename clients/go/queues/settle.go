package queues

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"sync"
)

// More are forgotten, oldest first: their leases have long run out.
const mostLeases = 100_000

// Ack is AckContext without a context.
func (c *Client) Ack(id string) error { return c.AckContext(context.Background(), id) }

// AckContext: the message is done. id is that of a message that this client has received; ErrConfiguration where it
// holds none, or one in each of several queues (see AckMessage). ErrLeaseLost when the lease is over: the message is,
// or will be, another's.
func (c *Client) AckContext(ctx context.Context, id string) error {
	return c.settleByID(ctx, id, "ack", map[string]any{})
}

// AckMessage acks a message itself.
func (c *Client) AckMessage(ctx context.Context, message *Message) error {
	return c.settle(ctx, message, "ack", map[string]any{})
}

// Nack is NackContext without a context.
func (c *Client) Nack(id string, delay ...int) error {
	return c.NackContext(context.Background(), id, delay...)
}

// NackContext: the attempt failed, and the next one comes after delay seconds, else after the queue's back-off.
func (c *Client) NackContext(ctx context.Context, id string, delay ...int) error {
	return c.settleByID(ctx, id, "nack", nackBody(delay))
}

// NackMessage returns a message itself.
func (c *Client) NackMessage(ctx context.Context, message *Message, delay ...int) error {
	return c.settle(ctx, message, "nack", nackBody(delay))
}

// Reject is RejectContext without a context.
func (c *Client) Reject(id, reason string) error {
	return c.RejectContext(context.Background(), id, reason)
}

// RejectContext sends a message to the dead letters now.
func (c *Client) RejectContext(ctx context.Context, id, reason string) error {
	return c.settleByID(ctx, id, "reject", rejectBody(reason))
}

// RejectMessage rejects a message itself.
func (c *Client) RejectMessage(ctx context.Context, message *Message, reason string) error {
	return c.settle(ctx, message, "reject", rejectBody(reason))
}

// Throttle is ThrottleContext without a context.
func (c *Client) Throttle(id string, seconds int, reason string) error {
	return c.ThrottleContext(context.Background(), id, seconds, reason)
}

// ThrottleContext: what the message calls is busy. The same attempt again after so many seconds, and no message of the
// group for anybody before then. The reason, which may be empty, is shown to whoever looks at the group.
func (c *Client) ThrottleContext(ctx context.Context, id string, seconds int, reason string) error {
	return c.settleByID(ctx, id, "throttle", throttleBody(seconds, reason))
}

// ThrottleMessage does so with a message itself.
func (c *Client) ThrottleMessage(ctx context.Context, message *Message, seconds int, reason string) error {
	return c.settle(ctx, message, "throttle", throttleBody(seconds, reason))
}

// Extend is ExtendContext without a context.
func (c *Client) Extend(id string, seconds int) error {
	return c.ExtendContext(context.Background(), id, seconds)
}

// ExtendContext holds a message for so many seconds more; 0 is its queue's whole visibility timeout.
func (c *Client) ExtendContext(ctx context.Context, id string, seconds int) error {
	message, err := c.leases.find(id)
	if err != nil {
		return err
	}
	return c.ExtendMessage(ctx, message, seconds)
}

// ExtendMessage extends the lease of a message itself.
func (c *Client) ExtendMessage(ctx context.Context, message *Message, seconds int) error {
	return c.extend(ctx, message, seconds, request{retries: -1})
}

func (c *Client) extend(ctx context.Context, message *Message, seconds int, r request) error {
	path, err := receiptPath(message, "extend")
	if err != nil {
		return err
	}
	body := map[string]any{}
	if seconds > 0 {
		body["seconds"] = seconds
	}
	r.method, r.path, r.body = "POST", path, body
	_, err = c.send(ctx, r, nil)
	if errors.Is(err, ErrLeaseLost) {
		c.leases.forget(message)
	}
	return err
}

func nackBody(delay []int) map[string]any {
	if len(delay) == 0 {
		return map[string]any{}
	}
	return map[string]any{"delay": delay[0]}
}

func rejectBody(reason string) map[string]any {
	if reason == "" {
		return map[string]any{}
	}
	return map[string]any{"reason": reason}
}

func throttleBody(seconds int, reason string) map[string]any {
	body := map[string]any{"delay": seconds}
	if reason != "" {
		body["reason"] = reason
	}
	return body
}

func (c *Client) settleByID(ctx context.Context, id, verb string, body map[string]any) error {
	message, err := c.leases.find(id)
	if err != nil {
		return err
	}
	return c.settle(ctx, message, verb, body)
}

// settle ends the lease; afterwards the message is no longer held.
func (c *Client) settle(ctx context.Context, message *Message, verb string, body map[string]any) error {
	path, err := receiptPath(message, verb)
	if err != nil {
		return err
	}
	_, err = c.send(ctx, request{method: "POST", path: path, body: body, retries: -1}, nil)
	if err == nil || errors.Is(err, ErrLeaseLost) {
		c.leases.forget(message)
	}
	return err
}

// ackTogether acks messages of one queue in one request: an error for each that could not be, nil for the others.
func (c *Client) ackTogether(ctx context.Context, messages []*Message) ([]error, error) {
	path, err := queuePath(messages[0].Queue)
	if err != nil {
		return nil, err
	}
	receipts := make([]string, len(messages))
	for i, message := range messages {
		receipts[i] = message.Receipt
	}
	var answer struct {
		Results []json.RawMessage `json:"results"`
	}
	r := request{method: "POST", path: path + "/messages/ack", body: map[string]any{"receipts": receipts}, retries: -1}
	if _, err := c.send(ctx, r, &answer); err != nil {
		return nil, err
	}
	if len(answer.Results) != len(messages) {
		return nil, malformedAnswer("%d receipts were sent, and the answer has %d results", len(messages), len(answer.Results))
	}
	failed := make([]error, len(messages))
	for i, raw := range answer.Results {
		c.leases.forget(messages[i])
		failed[i] = ackError(raw)
	}
	return failed, nil
}

func ackError(raw json.RawMessage) error {
	var result map[string]any
	if err := json.Unmarshal(raw, &result); err != nil {
		return malformedAnswer("a receipt has no result")
	}
	if ok, _ := result["ok"].(bool); ok {
		return nil
	}
	status, ok := result["status"].(float64)
	if !ok {
		status = 409
	}
	return newAPIError(int(status), result)
}

func receiptPath(message *Message, verb string) (string, error) {
	path, err := queuePath(message.Queue)
	if err != nil {
		return "", err
	}
	return path + "/messages/" + url.PathEscape(message.Receipt) + "/" + verb, nil
}

// leases are the messages that the client holds: Ack(message.ID) needs the queue and the receipt.
type leases struct {
	mutex sync.Mutex
	byID  map[string][]*Message
	order list.List // of ids, oldest first
	place map[string]*list.Element
}

func (l *leases) add(messages []*Message) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.byID == nil {
		l.byID, l.place = map[string][]*Message{}, map[string]*list.Element{}
	}
	for _, message := range messages {
		// A message that comes again has a new receipt; the earlier one is void.
		held := []*Message{message}
		for _, other := range l.byID[message.ID] {
			if other.Queue != message.Queue || other.Group != message.Group {
				held = append(held, other)
			}
		}
		l.remove(message.ID)
		l.byID[message.ID] = held
		l.place[message.ID] = l.order.PushBack(message.ID)
		if len(l.byID) > mostLeases {
			l.remove(l.order.Front().Value.(string))
		}
	}
}

func (l *leases) remove(id string) {
	if element, ok := l.place[id]; ok {
		l.order.Remove(element)
		delete(l.place, id)
		delete(l.byID, id)
	}
}

func (l *leases) find(id string) (*Message, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	switch held := l.byID[id]; len(held) {
	case 0:
		return nil, configurationError("this client holds no message %s: it was settled, or never received here", id)
	case 1:
		return held[0], nil
	}
	return nil, configurationError("messages %s of several queues are held: pass the message, not its id", id)
}

func (l *leases) holds(message *Message) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, held := range l.byID[message.ID] {
		if held.Receipt == message.Receipt {
			return true
		}
	}
	return false
}

func (l *leases) forget(message *Message) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var left []*Message
	for _, held := range l.byID[message.ID] {
		if held.Receipt != message.Receipt {
			left = append(left, held)
		}
	}
	if len(left) == 0 {
		l.remove(message.ID)
	} else {
		l.byID[message.ID] = left
	}
}
