"""The lifecycle of a response: admission, submission, polling, completion, cancellation, retention."""
