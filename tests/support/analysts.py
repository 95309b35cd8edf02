"""What analysts may read, and attempts to read more."""

from stanzalake.model.position import from_milliseconds
from stanzalake.store.dictionary import VIEWS_OF_DAYS, VIEWS_OF_MONTHS
from tests.support.archives import START, row
from tests.support.events import ROMEO, stanza

VIEWS = [*VIEWS_OF_DAYS, *VIEWS_OF_MONTHS, "traffic"]
ASKED, ANSWERED = "Wilt thou leave me so?", "What satisfaction?"
HALL = "hall@rooms.capulet.lit"
ROWS = [
    row(from_milliseconds(START), stanza=stanza(ASKED)),
    row(from_milliseconds(START + 5000), direction="out", stanza=stanza(ANSWERED)),
    row(from_milliseconds(START + 9000), owner=HALL, peer=HALL, kind="groupchat", occupant=ROMEO),
]
BELOW = [
    "SELECT stanza FROM messages",
    "SELECT owner FROM messages",
    "SELECT body FROM messages",
    "SELECT count() FROM messages",
    "SELECT key FROM messages_secret",
    "SELECT * FROM messages_preferences",
    "SELECT * FROM remote('127.0.0.1', stanzalake.messages)",
    "SELECT * FROM cluster('default', stanzalake.messages)",
    "SELECT * FROM file('store/**', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM mergeTreeIndex(stanzalake, messages)",
    "SELECT * FROM view(SELECT stanza FROM messages)",
    "SELECT stanza FROM merge('stanzalake', 'messages')",
    "SELECT key FROM merge('stanzalake', 'messages')",
    "SELECT query FROM system.query_log",
    "EXPLAIN ESTIMATE SELECT * FROM messages",
    "DESCRIBE TABLE messages",
    "SHOW CREATE TABLE messages",
    "CREATE TABLE mine AS messages",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE TEMPORARY TABLE mine (x UInt8)",
    "CREATE DICTIONARY mine (x UInt8) PRIMARY KEY x SOURCE(CLICKHOUSE(TABLE 'm')) LAYOUT(FLAT())",
    "INSERT INTO messages (owner) VALUES ('x')",
    "ALTER TABLE messages_traffic MODIFY QUERY SELECT stanza FROM messages",
    "ALTER TABLE messages_traffic MODIFY SQL SECURITY NONE",
]
BODIES = [
    "SELECT body FROM messages_bodies",
    "SELECT count() FROM messages_bodies",
    "SELECT body FROM messages_traffic",
    "SELECT body FROM merge('stanzalake', 'messages')",
    "SELECT 1 FROM messages_traffic WHERE match(body, 'a')",
]
