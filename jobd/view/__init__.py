"""Jobs and runs in the form for users and programs: state in one word, reason, JSON document, text."""
