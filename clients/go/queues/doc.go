// Package queues is a client of ProtoQueue's gateway: work queues over HTTP.
//
//	client := queues.New(os.Getenv("PROTOQUEUE_API_KEY"), queues.WithBaseURL("http://localhost:8080"))
//	_, err := client.Enqueue(queues.EnqueueParams{Queue: "email", Payload: map[string]any{"to": "ada@example.org"}})
//
// A queue is named "name" (in the gateway's default namespace) or "namespace/name"; durations are seconds. Each call has
// a variant that takes a context, as in package database/sql: Enqueue and EnqueueContext.
//
// What a request may be repeated for (429, 502, 503, 504, a dropped connection) it is repeated for. An id for
// deduplication, made by the client unless given, keeps a message from being stored twice.
//
// Errors can be told apart with [errors.Is] and the Err… variables; [errors.As] with [*APIError] gives the status, the
// fields that were refused, and the time after which to ask again.
package queues
