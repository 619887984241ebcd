// Counts words until SIGTERM, then prints what it has worked on: `consumer words`.
package main

import (
	"encoding/json"
	"log"
	"os"
	"sync"
	"time"

	"protoqueue/queues"
)

func main() {
	var mutex sync.Mutex
	worked := []int{}
	client := queues.New("") // PROTOQUEUE_GATEWAY_URL and PROTOQUEUE_API_KEY
	err := client.Consume(os.Args[1], queues.ConsumerConfig{
		Concurrency: 4,
		Handler: func(msg *queues.Message) error {
			var task struct {
				Word  string
				Index int
			}
			if err := msg.Decode(&task); err != nil {
				return queues.Reject(err.Error())
			}
			time.Sleep(50 * time.Millisecond) // stands for work
			mutex.Lock()
			defer mutex.Unlock()
			worked = append(worked, task.Index)
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"language": "Go", "worked": worked})
}
