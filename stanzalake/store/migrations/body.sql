-- Stanzas have no CDATA, comments or processing instructions, and their writers escape ">" in attributes:
-- every "<" begins a tag, the first ">" behind it ends it, and counting tags gives the depth.
decodeXMLComponent(
    if(match(stanza, '^<message[^<>]*><body>'),
        extract(stanza, '<body>([^<]*)'),
        extract(
            arrayFirst(
                (tag, opened, depth) -> depth + (opened = 0) = 2 AND match(tag, '^body[\\s/>]')
                    AND (NOT match(tag, '^[^>]*\\sxmlns=') OR match(tag, '^[^>]*\\sxmlns=["'']jabber:client["'']')),
                splitByChar('<', stanza) AS tags,
                arrayMap(
                    {opens},
                    tags
                ) AS opens,
                arrayCumSum(opens)
            ),
            '(?s)>(.*)'
        )
    )
)
