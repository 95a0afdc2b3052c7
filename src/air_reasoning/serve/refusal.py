"""What a client is told that its request cannot be answered."""

from typing import Any


class Refusal(Exception):
    """An HTTP status with OpenAI's error body."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def body(self) -> dict[str, Any]:
        """``{"error": {...}}`` as OpenAI's clients read it."""
        kinds = {401: "authentication_error", 429: "rate_limit_error", 404: "not_found_error"}
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": self.message, "type": kinds.get(self.status, kind)}
        return {"error": {**error, "param": self.param, "code": self.code}}
