"""Records to windows to outputs; numpy only, has never heard of torch, Kafka, Redis or MLflow."""
