//! What is special about RabbitMQ: messages that come back, alarms, exchanges that vanish, queues that are full.
