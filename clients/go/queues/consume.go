package queues

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

const (
	defaultConcurrency = 10
	defaultGracePeriod = 30 * time.Second
	mostMessages       = 100
	// What a handler gets to end after its context was cancelled; then its lease runs out by itself.
	cancelledGrace = 5 * time.Second
	// For what is left to be said to the gateway after the consumer's own context has ended.
	settleTimeout = 30 * time.Second
)

// ConsumerConfig says how a queue is consumed.
type ConsumerConfig struct {
	// Concurrency is how many messages are worked on at a time; 10 where it is 0.
	Concurrency int
	// Handler works on a message: nil acks it, an error returns it for another attempt after the queue's back-off. Reject,
	// Retry and Throttle say otherwise; a panic is an error.
	Handler func(message *Message) error
	// OnError is told what a handler returned, with its message, and, without one, what went wrong between this client and
	// the gateway. Without OnError both are logged with slog.
	OnError func(err error, message *Message)
	// Group may be left out where the queue has one.
	Group string
	// GracePeriod is what a stop gives to running handlers before their contexts are cancelled; 30 s where it is 0.
	GracePeriod time.Duration
	// Wait is how long one long poll takes; 20 s where it is 0.
	Wait time.Duration
}

// Consume is ConsumeContext until the process gets SIGINT or SIGTERM.
func (c *Client) Consume(queue string, config ConsumerConfig) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return c.ConsumeContext(ctx, queue, config)
}

// ConsumeContext runs the handler for each message until the context ends, and then waits for the running handlers.
//
// Leases are extended while a handler runs; message.Context() ends where one is lost. Failures to reach the gateway are
// retried with back-off. It returns nil once stopped, and an error when the gateway refuses for good: the key, the
// queue, the request.
func (c *Client) ConsumeContext(ctx context.Context, queue string, config ConsumerConfig) error {
	switch _, err := queuePath(queue); {
	case err != nil:
		return err
	case config.Handler == nil:
		return configurationError("ConsumerConfig has no Handler")
	case config.Concurrency < 0:
		return configurationError("Concurrency has to be at least 1, not %d", config.Concurrency)
	case config.Concurrency == 0:
		config.Concurrency = defaultConcurrency
	}
	if config.GracePeriod == 0 {
		config.GracePeriod = defaultGracePeriod
	}
	// Handlers outlive the consumer's context by the grace period.
	handlers, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	run := &consumer{client: c, queue: queue, config: config, handlers: handlers, slots: make(chan struct{}, config.Concurrency)}
	run.acks.client = c
	err := run.receive(ctx)
	run.drain(cancel)
	return err
}

var errStopping = errors.New("the consumer stops")

type consumer struct {
	client   *Client
	queue    string
	config   ConsumerConfig
	handlers context.Context
	slots    chan struct{} // one value for each message that is worked on
	running  sync.WaitGroup
	acks     acks
}

func (r *consumer) receive(ctx context.Context) error {
	params := ReceiveParams{Queue: r.queue, Group: r.config.Group, Wait: r.config.Wait}
	for failures := 0; ; {
		params.MaxMessages = r.freeSlots(ctx)
		if ctx.Err() != nil {
			return nil
		}
		messages, err := r.client.receive(ctx, params, 0)
		for range messages {
			r.slots <- struct{}{}
		}
		for _, message := range messages {
			r.running.Add(1)
			go r.work(message)
		}
		switch {
		case err == nil:
			failures = 0
		case ctx.Err() != nil:
			return nil
		case isFinal(err):
			return err
		default:
			r.report(err, nil)
			sleep(ctx, max(retryAfter(err), backoff(failures)))
			failures++
		}
	}
}

// freeSlots waits for one, and returns how many there are; the caller alone fills them.
func (r *consumer) freeSlots(ctx context.Context) int {
	select {
	case r.slots <- struct{}{}:
		<-r.slots
	case <-ctx.Done():
	}
	return min(mostMessages, cap(r.slots)-len(r.slots))
}

func (r *consumer) work(message *Message) {
	defer r.running.Done()
	defer func() { <-r.slots }()
	defer r.client.leases.forget(message)
	ctx, lose := context.WithCancelCause(r.handlers)
	defer lose(nil)
	message.ctx = ctx
	ended := make(chan struct{})
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		r.keep(message, lose, ended)
	}()
	defer func() {
		close(ended)
		<-kept
	}()
	failure := r.handle(message)
	lost := errors.Is(context.Cause(ctx), ErrLeaseLost)
	if failure != nil && !lost {
		r.report(failure, message)
	}
	// The handler may have settled the message itself, or may have lost it.
	if r.client.leases.holds(message) {
		if err := r.settle(message, failure); err != nil {
			r.report(err, message)
		}
	}
}

func (r *consumer) handle(message *Message) (failure error) {
	defer func() {
		if value := recover(); value != nil {
			failure = fmt.Errorf("the handler panicked: %v\n%s", value, debug.Stack())
		}
	}()
	return r.config.Handler(message)
}

func (r *consumer) settle(message *Message, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.handlers), settleTimeout)
	defer cancel()
	var reject *rejectError
	var retry *retryError
	var busy *throttleError
	switch {
	case failure == nil:
		return r.acks.ack(message)
	case errors.As(failure, &reject):
		return r.client.RejectMessage(ctx, message, reject.reason)
	case errors.As(failure, &busy):
		return r.client.ThrottleMessage(ctx, message, busy.delay, busy.reason)
	case errors.As(failure, &retry):
		return r.client.NackMessage(ctx, message, retry.delay)
	case message.ctx.Err() != nil:
		return r.client.NackMessage(ctx, message, 0)
	}
	return r.client.NackMessage(ctx, message)
}

// keep extends the lease until the handler has ended; a lost lease ends the message's context.
func (r *consumer) keep(message *Message, lose context.CancelCauseFunc, ended <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.handlers))
	defer cancel()
	go func() {
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	third := message.Lease / 3
	until, pause := time.Now().Add(message.Lease), third
	for sleep(ctx, pause) {
		asked := time.Now()
		err := r.client.extend(ctx, message, 0, request{retries: 0, timeout: third})
		switch {
		case err == nil:
			until, pause = asked.Add(message.Lease), third
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrLeaseLost) || time.Now().After(until):
			if !errors.Is(err, ErrLeaseLost) {
				err = &kindError{ErrLeaseLost, "the lease could not be extended in time: " + err.Error(), err}
			}
			r.client.leases.forget(message)
			lose(err)
			r.report(err, message)
			return
		default:
			pause = min(time.Second, third/3)
		}
	}
}

func (r *consumer) drain(cancel context.CancelCauseFunc) {
	ended := make(chan struct{})
	go func() {
		r.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-time.After(r.config.GracePeriod):
	}
	cancel(errStopping)
	select {
	case <-ended:
	case <-time.After(cancelledGrace):
	}
}

func (r *consumer) report(err error, message *Message) {
	switch {
	case r.config.OnError != nil:
		r.config.OnError(err, message)
	case message != nil:
		slog.Error("protoqueue: message failed", "queue", r.queue, "message", message.ID, "error", err)
	default:
		slog.Error("protoqueue: gateway failed", "queue", r.queue, "error", err)
	}
}

// isFinal tells whether asking again would get the same answer.
func isFinal(err error) bool {
	var refused *APIError
	if !errors.As(err, &refused) {
		return errors.Is(err, ErrConfiguration)
	}
	return !errors.Is(err, ErrRateLimited) && !errors.Is(err, ErrUnavailable) && refused.Status != 408
}

// acks that come while a request is on its way go together in the next one.
type acks struct {
	client  *Client
	mutex   sync.Mutex
	waiting []waitingAck
	sending bool
}

type waitingAck struct {
	message *Message
	done    chan error
}

func (a *acks) ack(message *Message) error {
	mine := waitingAck{message, make(chan error, 1)}
	a.mutex.Lock()
	a.waiting = append(a.waiting, mine)
	start := !a.sending
	a.sending = true
	a.mutex.Unlock()
	if start {
		go a.send()
	}
	return <-mine.done
}

func (a *acks) send() {
	for {
		a.mutex.Lock()
		now := a.waiting[:min(len(a.waiting), mostMessages)]
		a.waiting = a.waiting[len(now):]
		a.sending = len(now) > 0
		a.mutex.Unlock()
		if len(now) == 0 {
			return
		}
		messages := make([]*Message, len(now))
		for i, one := range now {
			messages[i] = one.message
		}
		ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
		failed, err := a.client.ackTogether(ctx, messages)
		cancel()
		for i, one := range now {
			if err != nil {
				one.done <- err
			} else {
				one.done <- failed[i]
			}
		}
	}
}
