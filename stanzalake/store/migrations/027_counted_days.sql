-- The views of days and months. Questions about other days do not read the days that views count: a filter of days reaches these
-- alone, and the messages are not looked at if there are none. For a filter of the messages' days, a plan goes through the whole
-- of their index.
{dirty_traffic};

CREATE OR REPLACE VIEW {table}_daily{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    kind LowCardinality(String) COMMENT 'Type of the stanza: chat, normal, groupchat, headline or error',
    direction Enum8('in' = 1, 'out' = 2) COMMENT 'in if the owner received it, out if the owner sent it',
    messages UInt64 COMMENT 'Messages',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, kind, direction, messages, as_of
FROM {table}_daily_computed
UNION ALL
SELECT changed.day AS day, host, kind, direction, messages, now64(6, 'UTC') AS as_of
FROM
(
{daily}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Messages in archives: one between two local users is in two, as out and as in';

CREATE OR REPLACE VIEW {table}_active{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost of the archives',
    owners UInt64 COMMENT 'Owners with a message on that day',
    writers UInt64 COMMENT 'Those of them who wrote one',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, owners, writers, as_of
FROM {table}_active_computed
UNION ALL
SELECT changed.day AS day, host, owners, writers, now64(6, 'UTC') AS as_of
FROM
(
{active}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Accounts with a message on a day, and those of them who wrote one';

CREATE OR REPLACE VIEW {table}_pairs{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    sender String COMMENT 'Hash of the sender''s address; of the room if only the recipient''s archive has a private message',
    recipient String COMMENT 'Hash of the recipient''s address; of the room if only the sender''s archive has a private message',
    messages UInt64 COMMENT 'Messages from one to the other, of the types chat and normal',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, sender, recipient, messages, as_of
FROM {table}_pairs_computed
UNION ALL
SELECT changed.day AS day, sender, recipient, messages, now64(6, 'UTC') AS as_of
FROM
(
{pairs}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Messages from one to another, each once, also those in both archives and private messages of rooms';

CREATE OR REPLACE VIEW {table}_answers{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    responder String COMMENT 'owner: how long owners took; peer: how long owners waited',
    answers UInt64 COMMENT 'Answers',
    p50 Float64 COMMENT 'Seconds that half of the answers took at most',
    p90 Float64 COMMENT 'Seconds that nine tenths of the answers took at most',
    p99 Float64 COMMENT 'Seconds that 99 in 100 of the answers took at most',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, responder, answers, p50, p90, p99, as_of
FROM {table}_answers_computed
UNION ALL
SELECT changed.day AS day, host, responder, answers, p50, p90, p99, now64(6, 'UTC') AS as_of
FROM
(
{answers}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Seconds until the other side of a conversation answered, on the same day (UTC)';

CREATE OR REPLACE VIEW {table}_rooms{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'MUC component of the room',
    room String COMMENT 'Hash of the room''s address, in the other views owner_hash',
    messages UInt64 COMMENT 'Messages in the room, each once, however many occupants got it',
    writers UInt64 COMMENT 'Occupants who wrote one, by their accounts; by nick if an import did not tell these',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, room, messages, writers, as_of
FROM {table}_rooms_computed
UNION ALL
SELECT changed.day AS day, host, room, messages, writers, now64(6, 'UTC') AS as_of
FROM
(
{rooms}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Messages of a room on a day, and how many occupants wrote them';

CREATE OR REPLACE VIEW {table}_owners{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost of the archive',
    owner_hash String COMMENT 'Hash of the account''s address, the same in all views',
    sent UInt64 COMMENT 'Messages that the account sent',
    received UInt64 COMMENT 'Messages that it received',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, owner_hash, sent, received, as_of
FROM {table}_owners_computed
UNION ALL
SELECT changed.day AS day, host, owner_hash, sent, received, now64(6, 'UTC') AS as_of
FROM
(
{owners}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Accounts with a message on a day, and how many they sent and received';

CREATE OR REPLACE VIEW {table}_contents{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    local_hour UInt8 COMMENT 'Hour of the day, 0 to 23, in the zone of STANZALAKE_TIME_ZONE',
    kind LowCardinality(String) COMMENT 'Type of the stanza: chat, normal, groupchat, headline or error',
    direction Enum8('in' = 1, 'out' = 2) COMMENT 'in if the owner received it, out if the owner sent it',
    encrypted LowCardinality(String) COMMENT 'Scheme of the encrypted payload: omemo, openpgp, pgp, otr, mls or other; empty without one',
    at_least UInt64 COMMENT 'Characters of the text, rounded down to a power of two; 0 without a text',
    messages UInt64 COMMENT 'Messages',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, local_hour, kind, direction, encrypted, at_least, messages, as_of
FROM {table}_contents_computed
UNION ALL
SELECT changed.day AS day, host, local_hour, kind, direction, encrypted, at_least, messages, now64(6, 'UTC') AS as_of
FROM
(
{contents}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Messages in archives by hour, length and encryption';

CREATE OR REPLACE VIEW {table}_response_times{on_cluster}
(
    day Date COMMENT 'Day of the answer, in UTC',
    host String COMMENT 'VirtualHost of the archives',
    responder String COMMENT 'owner: how long owners took; peer: how long owners waited',
    seconds Float64 COMMENT 'Seconds until the answer: tenths below 100, three digits above',
    answers UInt64 COMMENT 'Answers that took so long',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, responder, seconds, answers, as_of
FROM {table}_response_times_computed
UNION ALL
SELECT changed.day AS day, host, responder, seconds, answers, now64(6, 'UTC') AS as_of
FROM
(
{response_times}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Answers within 24 hours by the time that they took, over midnight as well; reactions are none';

CREATE OR REPLACE VIEW {table}_servers{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost of the archive',
    peer_host String COMMENT 'Host of the other parties',
    owner_hash String COMMENT 'Hash of the account''s address, the same in all views',
    sent UInt64 COMMENT 'Messages that the account sent to that host',
    received UInt64 COMMENT 'Messages that it received from there',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, peer_host, owner_hash, sent, received, as_of
FROM {table}_servers_computed
UNION ALL
SELECT changed.day AS day, host, peer_host, owner_hash, sent, received, now64(6, 'UTC') AS as_of
FROM
(
{servers}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Accounts with a message on a day, and the hosts of those they exchanged it with';

CREATE OR REPLACE VIEW {table}_occupants{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'MUC component of the room',
    room String COMMENT 'Hash of the room''s address, in the other views owner_hash',
    occupant_hash String COMMENT 'Hash of the author, another in each room; empty for the room itself',
    messages UInt64 COMMENT 'Messages of the author in the room',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, room, occupant_hash, messages, as_of
FROM {table}_occupants_computed
UNION ALL
SELECT changed.day AS day, host, room, occupant_hash, messages, now64(6, 'UTC') AS as_of
FROM
(
{occupants}
) AS counted
INNER JOIN (SELECT day FROM {table}_dirty) AS changed ON identity(counted.day) = changed.day
COMMENT 'Messages of each author in a room on a day';

CREATE OR REPLACE VIEW {table}_monthly_owners{on_cluster}
(
    month Date COMMENT 'First day of the month, in UTC',
    host String COMMENT 'VirtualHost of the archive',
    owner_hash String COMMENT 'Hash of the account''s address, the same in all views',
    sent UInt64 COMMENT 'Messages that the account sent',
    received UInt64 COMMENT 'Messages that it received',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a month that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT month, host, owner_hash, sent, received, as_of
FROM {table}_monthly_owners_computed
UNION ALL
SELECT changed.month AS month, host, owner_hash, sent, received, now64(6, 'UTC') AS as_of
FROM
(
{monthly_owners}
) AS counted
INNER JOIN (SELECT month FROM {table}_dirty_months) AS changed ON identity(counted.month) = changed.month
COMMENT 'Accounts with a message in a month, and how many they sent and received';

CREATE OR REPLACE VIEW {table}_monthly_conversations{on_cluster}
(
    month Date COMMENT 'First day of the month, in UTC',
    one String COMMENT 'Hash of the address of one party',
    other String COMMENT 'Hash of the other''s, the same or a greater hash',
    messages UInt64 COMMENT 'Messages between the two, of the types chat and normal',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a month that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT month, one, other, messages, as_of
FROM {table}_monthly_conversations_computed
UNION ALL
SELECT changed.month AS month, one, other, messages, now64(6, 'UTC') AS as_of
FROM
(
{monthly_conversations}
) AS counted
INNER JOIN (SELECT month FROM {table}_dirty_months) AS changed ON identity(counted.month) = changed.month
COMMENT 'Messages of two parties in a month, counted as in the view of pairs';

CREATE OR REPLACE VIEW {table}_monthly_senders{on_cluster}
(
    month Date COMMENT 'First day of the month, in UTC',
    sender String COMMENT 'Hash of the sender''s address',
    messages UInt64 COMMENT 'Messages, of the types chat and normal',
    recipients UInt64 COMMENT 'To how many they went',
    answered_by UInt64 COMMENT 'How many of these wrote to the sender in the month',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a month that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT month, sender, messages, recipients, answered_by, as_of
FROM {table}_monthly_senders_computed
UNION ALL
SELECT changed.month AS month, sender, messages, recipients, answered_by, now64(6, 'UTC') AS as_of
FROM
(
{monthly_senders}
) AS counted
INNER JOIN (SELECT month FROM {table}_dirty_months) AS changed ON identity(counted.month) = changed.month
COMMENT 'Who wrote in a month, to how many, and how many of these wrote back'
