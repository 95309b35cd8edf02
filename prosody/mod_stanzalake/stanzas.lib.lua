-- Stanzas: parses or checks single stanzas in texts, with private parsers that are reused.
--
-- Gives what util.xmppstream gives (tests/unit/lua/parse_stanza.lua compares them), in three quarters of its time: no
-- count of bytes, and each name is split once. util.xml.parse costs four times as much.

local new_parser = require "lxp".new;
local new_id = require "util.id".long;
local st = require "util.stanza";

local concat, match = table.concat, string.match;

local stanza_mt = st.stanza_mt;

local HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
local STREAM_ERROR = "http://etherx.jabber.org/streams\1error";
local SEPARATOR, NAME = "\1", "^([^\1]*)\1?(.*)$";
local CLIENT = "jabber:client";
local KINDS = { message = true, presence = true, iq = true };
local MAX_STANZA = 4 * 1024 * 1024;
-- Bytes after which the parser is replaced: expat keeps every name that it has seen.
local MAX_FED = 1024 * 1024;

local xml_attributes = {};
for _, name in ipairs { "lang", "space", "base", "id" } do
	xml_attributes["http://www.w3.org/XML/1998/namespace\1"..name] = "xml:"..name;
end

-- A cache of names as expat gives them, split into namespace and name.
local split_mt = {};

function split_mt.__index(cache, tag)
	local xmlns, name = match(tag, NAME);
	if name == "" then xmlns, name = "", xmlns; end
	cache[tag] = { xmlns = xmlns, name = name };
	return cache[tag];
end

-- Leaves the named attributes, with XML's own under their usual names.
local function tidy(attr)
	for i = 1, #attr do
		local key = attr[i];
		attr[i] = nil;
		local name = xml_attributes[key];
		if name then attr[name], attr[key] = attr[key], nil; end
	end
end

-- Returns the handlers of a parser.
--   result: gets stanza, count, and stop, the offset in the stream after the last stanza; and broken if the text is not
--     one that a stream may have
local function new_handlers(result)
	local names, handlers = setmetatable({}, split_mt), {};
	-- The open element, those around it, and the number of those; -1 before the stream, 0 between stanzas.
	local current, outer, depth = nil, {}, -1;
	-- The number of open elements from the outermost in another namespace on: each bears its namespace.
	local foreign = 0;
	local texts, text_count = {}, 0;

	local function fail(parser)
		result.broken = true;
		parser:stop();
	end

	local function add_text()
		current[#current + 1] = text_count == 1 and texts[1] or concat(texts, "", 1, text_count);
		text_count = 0;
	end

	function handlers.StartElement(parser, tag, attr)
		depth = depth + 1;
		if depth == 0 then return; end
		if text_count > 0 then add_text(); end
		local name = names[tag];
		tidy(attr);
		if foreign > 0 or name.xmlns ~= CLIENT then
			attr.xmlns, foreign = name.xmlns, foreign + 1;
		elseif depth == 1 and not KINDS[name.name] then
			fail(parser);
		end
		local element = setmetatable({ name = name.name, attr = attr, tags = {} }, stanza_mt);
		if current then
			outer[depth] = current;
			current[#current + 1] = element;
			current.tags[#current.tags + 1] = element;
		end
		current = element;
	end

	function handlers.CharacterData(_, text)
		if not current then return; end
		text_count = text_count + 1;
		texts[text_count] = text;
	end

	function handlers.EndElement(parser, tag)
		if text_count > 0 then add_text(); end
		if foreign > 0 then foreign = foreign - 1; end
		depth = depth - 1;
		if depth > 0 then
			current, outer[depth + 1] = outer[depth + 1], nil;
			return;
		end
		result.count, result.stanza, current = result.count + 1, current, nil;
		local _, _, position = parser:pos();
		result.stop = position - 1 + parser:getcurrentbytecount();
		if depth < 0 or tag == STREAM_ERROR then fail(parser); end
	end

	-- RFC 6120 §11.1.
	handlers.Comment, handlers.ProcessingInstruction, handlers.StartDoctypeDecl = fail, fail, fail;
	return handlers;
end

local parser_mt = {};
parser_mt.__index = parser_mt;

function parser_mt:open()
	self.fed, self.result = 0, {};
	self.parser = new_parser(new_handlers(self.result), SEPARATOR);
	self.parser:parse(HEADER);
end

-- Returns the stanza in a text, or nil unless there is exactly one. An error costs only this stanza.
function parser_mt:parse(text)
	if #text > MAX_STANZA then return nil; end
	if self.fed > MAX_FED then self:open(); end
	local result = self.result;
	self.fed, result.count = self.fed + #text, 0;
	local ok = self.parser:parse(text);
	local stanza = result.stanza;
	result.stanza = nil;
	local is_taken = ok and not result.broken and result.count == 1;
	-- Bytes behind a stanza, such as an unfinished tag, would be the beginning of the next text.
	if not is_taken or result.stop ~= #HEADER + self.fed then self:open(); end
	return is_taken and stanza or nil;
end

local function new()
	local parser = setmetatable({}, parser_mt);
	parser:open();
	return parser;
end

local checker_mt = {};
checker_mt.__index = checker_mt;

function checker_mt:open()
	-- No content can close an element whose name nobody knows, nor pass the mark behind it.
	local name, result = "c"..new_id(), {};
	local function fail(parser)
		result.broken = true;
		parser:stop();
	end
	local function instruction(parser, target)
		if target == name then result.passed = true; else fail(parser); end
	end
	self.fed, self.result = 0, result;
	self.between = ("</%s><?%s?><%s>"):format(name, name, name);
	self.parser = new_parser({ Comment = fail, StartDoctypeDecl = fail, ProcessingInstruction = instruction }, SEPARATOR);
	self.parser:parse(HEADER.."<"..name..">");
end

-- Whether a text is well-formed content of an element of a stream, by itself. Makes nothing of it, which takes a fifth
-- of the time of a parse.
function checker_mt:takes(text)
	if #text > MAX_STANZA then return false; end
	if self.fed > MAX_FED then self:open(); end
	local parser, result = self.parser, self.result;
	self.fed, result.passed = self.fed + #text, false;
	local ok = parser:parse(text) and parser:parse(self.between);
	if ok and result.passed and not result.broken then return true; end
	self:open();
	return false;
end

local function new_checker()
	local checker = setmetatable({}, checker_mt);
	checker:open();
	return checker;
end

return { new = new, new_checker = new_checker };
