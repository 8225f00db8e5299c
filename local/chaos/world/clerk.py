"""What the agent of a run says. It depends on the question only, so its caller knows it before."""


def words_for(question: str) -> list[str]:
    """Return the words of the agent's report on a question. Together they are its text."""
    return [f"{word} " for word in f"A report of {len(question)} letters. {question}".split()]
