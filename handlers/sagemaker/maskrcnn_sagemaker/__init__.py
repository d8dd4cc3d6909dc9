"""Amazon SageMaker: endpoints, batch transform jobs, and what they need. Nothing else knows AWS."""
