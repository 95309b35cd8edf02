-- The start tags of a stanza's children, without "<" and ">"; see body.sql for the counting of depths.
arrayMap(
    tag -> extract(tag, '^[^>]*'),
    arrayFilter(
        (tag, opened, depth) -> opened >= 0 AND tag != '' AND depth + (opened = 0) = 2,
        splitByChar('<', stanza) AS pieces,
        arrayMap(
            tag -> multiIf(tag = '', 0, startsWith(tag, '/'), -1, match(tag, '^[^>]*/>'), 0, 1),
            pieces
        ) AS openings,
        arrayCumSum(openings)
    )
)
