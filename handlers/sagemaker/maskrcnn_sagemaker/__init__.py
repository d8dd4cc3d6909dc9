"""Amazon SageMaker: endpoints and batch transform jobs. Only this package knows AWS."""
