"""PostgreSQL: its statements, its tables and their migrations."""
