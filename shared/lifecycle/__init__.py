"""The way of a response: admission, submission, polling, completion, cancellation, retention."""
