SELECT
    month,
    writer.1 AS sender,
    sum(writer.2) AS messages,
    count() AS recipients,
    countIf(writer.3) AS answered_by
FROM
(
    SELECT
        toStartOfMonth(day) AS month,
        least(sender, recipient) AS one,
        greatest(sender, recipient) AS other,
        sumIf(messages, sender = one) AS of_one,
        sumIf(messages, sender != one) AS of_other
    FROM {table}_pairs
    WHERE {months}
    GROUP BY month, one, other
)
ARRAY JOIN [(one, of_one, of_other > 0 OR one = other), (other, of_other, of_one > 0)] AS writer
WHERE writer.2 > 0
GROUP BY month, sender
