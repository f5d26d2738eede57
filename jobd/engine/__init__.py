"""What runs jobs: WorkQueue, Processor, Worker, leases, and the keeper, the one thread that talks to the store."""
