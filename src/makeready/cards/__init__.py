"""Cards: pure print code. A designer's PDF, settings and rows of data become verified cards.

No database, no HTTP, no network. PyMuPDF holds the interpreter lock and serves one thread, so all
of this runs in helper processes, which `makeready.stamping` asks. The way of a card:

A template comes
    inspection   looks at a designer's PDF once, or refuses it
    template     what is known of it since then
    boxes        the boxes of its pages, as they are meant
    notes        what lies above its pages: annotations, and fields of its form
    inks         which inks and fonts it uses
    active       what it does when it is opened, which is taken out
    spelling     its names and strings as text
    markers      names that mark a place in it
    discovery    settings that are made of these marks
Settings say what is put on it
    schema       what settings may say, as JSON Schema
    settings     settings as records, and how they are read
    values       the language of values, such as `{table.number|pad:3}`
    geometry     millimetres as a designer sees them, and where they lie in a page
    assets       what an uploaded font or picture is; `asset_facts` is its record
    order        template, settings and rows together
All of it is judged before anything is drawn
    checks       everything that is wrong, at once
    examination  what checks look at, and where they note problems
    filling      values filled in, for all cards
    findings     what cards are drawn with, or why they cannot be drawn
    placing      whether fields lie where they can be printed
    scanning     whether codes can be read once they are printed
    problems     a finding, as a record
    wording      its words, in Russian and English
Fields become drawing operators
    drawing      all fields of a card, page by page
    pens         one field each
    colours      inks as operators
    qr           symbols of codes; `affine` makes many at once, `masks` chooses their masks
    modules      which module of a symbol carries what; `blocks`: how data is dealt out over them
    logos        how much of a code a logo may cover, and where
    text         text that fits its field
    fonts        what fonts can draw; `embedding` puts what is used of them into a PDF
    images       pictures as PDF objects
Cards are made
    press        an order made ready; it makes one card after the other
    compile      the template once, so that a card is only appended to it
    isolation    shuts the template's art in
    stamp        appends
Cards are looked at with other eyes
    verify       each card: it is refused, or what was seen is its evidence
    expected     what must be on it, worked out anew
    sight        it as MuPDF sees it; `lattice`: where the modules of its codes must lie
    code_checks  whether its codes are right; `text_checks`: its texts; `letterforms`: each letter
    refusal      why it must not be used
    proof        once a generation: the template is untouched, and codes are of one ink
What is made of cards
    print_file   all of them in one PDF; `assembly` is what it has in common with sheets
    sheets       several up on sheets; `imposing` says where
    qr_files     codes alone; `qr_look` says how they can look
    preview      pictures for people
    reading      reads the codes of printed pages, as a phone does
    sample       a template with settings, for the demo and a first try
And from outside
    program      what the helper processes run
    messages     records as JSON, for the way there and back, and for the database
"""
