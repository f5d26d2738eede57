"""Running jobs: WorkQueue, Processor, Worker, leases, and the keeper, the only thread that uses the store."""
