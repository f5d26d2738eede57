"""The database: every statement that jobd ever sends, the same in meaning on SQLite, MariaDB/MySQL and PostgreSQL."""
