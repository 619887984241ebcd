package queues_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"protoqueue/queues"
)

// gateway is a client of a real gateway, and a name for a queue of the test's own.
func gateway(t *testing.T) (*queues.Client, string) {
	t.Helper()
	if os.Getenv("PROTOQUEUE_GATEWAY_URL") == "" {
		t.Skip("no gateway: set PROTOQUEUE_GATEWAY_URL and PROTOQUEUE_API_KEY")
	}
	return queues.New(""), fmt.Sprintf("go-%x", rand.Uint32())
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestWhatTheReadmeShowsWorksAgainstAGateway(t *testing.T) {
	client, name := gateway(t)
	queue, err := client.Create(queues.CreateParams{
		Name: name,
		Config: queues.Config{
			MaxRetries:        3,
			VisibilityTimeout: 60,
			DeadLetterQueue:   name + "-dlq",
		},
	})
	if err != nil || queue.Name != name {
		t.Fatal(queue, err)
	}
	msg, err := client.Enqueue(queues.EnqueueParams{
		Queue:    name,
		Payload:  map[string]interface{}{"orderId": "123"},
		Priority: 1,
	})
	if err != nil || msg.Duplicate {
		t.Fatal(msg, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	err = client.ConsumeContext(ctx, name, queues.ConsumerConfig{
		Concurrency: 10,
		Handler: func(msg *queues.Message) error {
			defer stop()
			if order, ok := msg.Payload.(map[string]any); !ok || order["orderId"] != "123" {
				t.Errorf("%v", msg.Payload)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if stats := must(client.Stats(name)); stats.Waiting+stats.InFlight+stats.Dead != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestAThousandMessagesAreWorkedOnOnceEach(t *testing.T) {
	client, name := gateway(t)
	must(client.Create(queues.CreateParams{Name: name, Config: queues.Config{VisibilityTimeout: 60}}))
	for start := 0; start < 1000; start += 100 {
		params := queues.EnqueueBatchParams{Queue: name}
		for i := range 100 {
			params.Messages = append(params.Messages, queues.NewMessage{Payload: start + i})
		}
		must(client.EnqueueBatch(params))
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var mutex sync.Mutex
	seen := map[float64]int{}
	began := time.Now()
	err := client.ConsumeContext(ctx, name, queues.ConsumerConfig{Concurrency: 50, Handler: func(msg *queues.Message) error {
		mutex.Lock()
		defer mutex.Unlock()
		seen[msg.Payload.(float64)]++
		if len(seen) == 1000 {
			stop()
		}
		return nil
	}})
	t.Logf("consumed %.0f messages/s", 1000/time.Since(began).Seconds())
	if err != nil {
		t.Fatal(err)
	}
	for number, times := range seen {
		if times != 1 {
			t.Errorf("%v came %d times", number, times)
		}
	}
}

func TestWhatAGatewayRefusesIsAnErrorOfItsKind(t *testing.T) {
	client, name := gateway(t)
	must(client.Create(queues.CreateParams{Name: name, Config: queues.Config{VisibilityTimeout: 1}}))
	if _, err := client.Stats("nothing-here"); !errors.Is(err, queues.ErrNotFound) {
		t.Error(err)
	}
	_, err := client.Enqueue(queues.EnqueueParams{Queue: name, Priority: 11})
	var refused *queues.APIError
	if !errors.Is(err, queues.ErrInvalidRequest) || !errors.As(err, &refused) || refused.Errors[0].Pointer != "/priority" {
		t.Error(err)
	}
	if _, err := queues.New("pq_no_key").Stats(name); !errors.Is(err, queues.ErrUnauthorized) {
		t.Error(err)
	}
	must(client.Enqueue(queues.EnqueueParams{Queue: name, Payload: 1}))
	first := must(client.Receive(queues.ReceiveParams{Queue: name, MaxMessages: 1}))
	again := must(client.Receive(queues.ReceiveParams{Queue: name, MaxMessages: 1}))
	if len(first) != 1 || len(again) != 1 || first[0].ID != again[0].ID {
		t.Fatal(first, again)
	}
	if err := client.AckMessage(context.Background(), first[0]); !errors.Is(err, queues.ErrLeaseLost) {
		t.Error(err)
	}
	if err := client.Ack(again[0].ID); err != nil {
		t.Error(err)
	}
}
