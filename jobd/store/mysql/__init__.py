"""MariaDB and MySQL: their statements, their tables and the migrations of them."""
