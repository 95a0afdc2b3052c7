"""The turn loop behind the OpenAI wire: `/v1/responses` and `/v1/chat/completions`."""
