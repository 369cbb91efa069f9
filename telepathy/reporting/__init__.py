"""Results as tables and sentences, for terminals and Markdown documents."""
