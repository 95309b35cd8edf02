-- The start tags of a stanza's children, without "<" and ">"; see body.sql for the counting of depths.
arrayMap(
    tag -> extract(tag, '^[^>]*'),
    arrayFilter(
        (tag, opened, depth) -> opened >= 0 AND tag != '' AND depth + (opened = 0) = 2,
        splitByChar('<', stanza) AS pieces,
        arrayMap(
            {opens},
            pieces
        ) AS openings,
        arrayCumSum(openings)
    )
)
