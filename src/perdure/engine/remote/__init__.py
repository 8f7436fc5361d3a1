"""Work for code in other processes: offered to connected workers, whose answers become turns and outcomes."""
