"""Where messages go: chats, pagers, topics, mail, webhooks."""
