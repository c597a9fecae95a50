"""Talking to a chat endpoint: requests with retries and a budget, replies parsed and kept."""
