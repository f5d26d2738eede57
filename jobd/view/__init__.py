"""Jobs and runs as people and programs see them: the state in one word, the reason, the JSON document, the text."""
