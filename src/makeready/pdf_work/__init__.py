"""What the helper process of `makeready.pdf` does to PDFs. Blocking; nothing else runs it."""
