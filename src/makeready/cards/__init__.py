"""Cards: pure print code. A designer's PDF, settings and rows of data become verified cards.

No database, no HTTP, no network. The way of a card, each step a module:

    template   what a designer's PDF is, or why it is refused; `inspection` looks, with `boxes`,
               `notes`, `inks` and `active`
    settings   what is to be put on it, and where, in millimetres; `values` fill in a table's data
    checks     everything that is wrong with settings on this template, with these tables, at once
    drawing    fields become drawing operators; `qr`, `text`, `images`, `colours`, `fonts` help
    compile    the template once per generation, so that a card is only appended to it;
               `isolation` shuts its art in
    press      all of it for one generation: `stamp` makes one card
    verify     looks at a card with other eyes, and refuses or says what it saw
    sheets     all cards in one print file, or imposed on sheets

PyMuPDF holds the interpreter lock and serves one thread: all of this runs in the stamping
process, which `makeready.stamping` asks.
"""
