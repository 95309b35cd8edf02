-- Stanzas: parses single stanzas from text, with a private stream parser that is reused.
--
-- util.xml.parse costs three times as much.

local new_stream = require "util.xmppstream".new;

local HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
local MAX_STANZA = 4 * 1024 * 1024;
-- Bytes after which the parser is replaced: expat keeps every name that it has seen.
local MAX_FED = 1024 * 1024;

local parser_mt = {};
parser_mt.__index = parser_mt;

local callbacks = { default_ns = "jabber:client" };

function callbacks.streamopened(self)
	self.notopen = nil;
end

function callbacks.handlestanza(self, stanza)
	self.count, self.stanza = self.count + 1, stanza;
end

function callbacks.streamclosed(self)
	self.broken = true;
end

function callbacks.error(self)
	self.broken = true;
end

function parser_mt:open()
	self.notopen, self.broken, self.fed = true, false, 0;
	self.stream = new_stream(self, callbacks, MAX_STANZA);
	self.stream:feed(HEADER);
end

-- Returns the stanza in a text, or nil unless there is exactly one. An error costs only this stanza.
function parser_mt:parse(text)
	if self.fed > MAX_FED then self:open(); end
	self.count, self.stanza, self.fed = 0, nil, self.fed + #text;
	local called, ok = pcall(self.stream.feed, self.stream, text);
	local stanza = self.stanza;
	self.stanza = nil;
	if not (called and ok and self.count == 1) or self.broken then
		self:open();
		return nil;
	end
	-- The parser's default for the stream; stanzas in answers have none of their own.
	stanza.attr["xml:lang"] = nil;
	return stanza;
end

local function new()
	local parser = setmetatable({}, parser_mt);
	parser:open();
	return parser;
end

return { new = new };
