"""Where versions live (MLflow) and how workers hear of them (Redis)."""
