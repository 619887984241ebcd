import { Queues } from '@protoqueue/client';
declare function processImage(image: unknown): Promise<void>;

const queues = new Queues({ apiKey: 'your-api-key' });

// Create a queue with rate limiting
const queue = await queues.create({
  name: 'image-processing',
  config: {
    maxRetries: 5,
    visibilityTimeout: 300,
    deadLetterQueue: 'image-dlq',
    rateLimit: { requests: 50, per: 'second' }
  }
});

// Enqueue with priority
await queues.enqueue({
  queue: 'image-processing',
  payload: { imageUrl: 'https://...', operations: ['resize', 'compress'] },
  priority: 2,
  metadata: { userId: '123' }
});

// Batch enqueue
await queues.enqueueBatch({
  queue: 'image-processing',
  messages: [
    { payload: { imageUrl: '...' } },
    { payload: { imageUrl: '...' } }
  ]
});

// Consumer with automatic scaling
queues.consume({
  queue: 'image-processing',
  concurrency: 20,
  handler: async (message) => {
    await processImage(message.payload);
  },
  onError: async (error, message) => {
    console.error('Failed:', error);
    // Message automatically retried or sent to DLQ
  }
});
