-- Answers: the answer of a query component to a request, assembled from its parts (docs/protocol.md).

local decode_base64 = require "util.encodings".base64.decode;
local decode_json = require "util.json".decode;

local frames = module:require "frames";

-- Bytes of an answer: a page has up to 4 MiB of stanzas, and the markup around each of 250.
local MAX_BYTES = 16 * 1024 * 1024;
-- Bytes of all undelivered answers.
local MAX_TOTAL = 64 * 1024 * 1024;

local answer_mt = {};
answer_mt.__index = answer_mt;

-- Returns the text in an element without a copy, as it mostly comes.
local function text_of(element)
	local text = element[1];
	return #element == 1 and type(text) == "string" and text or element:get_text() or "";
end

-- Returns texts as one. A single one is not copied: bytes that are left behind cost the collector's time.
local function join(texts)
	return texts[2] and table.concat(texts) or texts[1];
end

-- Returns the state in a text, or nil and the reason.
local function state_of(text, position)
	local state = decode_json(text);
	if type(state) ~= "table" then return nil, "an answer with a state that is not JSON"; end
	state.position = position;
	return state;
end

-- Notes what is in a frame.
function answer_mt:take(text, kind, position, first, last)
	local messages = self.messages;
	if kind == "message" then
		local number = #messages + 1;
		messages[number], messages.texts[number] = position, text;
		messages.firsts[number], messages.lasts[number] = first, last;
	elseif kind == "iq" then
		self.iq = text:sub(first, last);
	elseif kind == "state" then
		self.state = { text = text:sub(first, last), position = position };
	end
end

-- Reads the frames that end in the next part. Returns true, or nil and the reason.
function answer_mt:read(part)
	local rest = self.rest;
	rest[#rest + 1], rest.bytes = part, rest.bytes + #part;
	if rest.bytes < rest.needed then return true; end
	-- Parts that end with a frame are not joined: a text of several MiB would hold Prosody's loop, in its collector.
	local text = join(rest);
	local first, needed = frames.read(text, function (...) self:take(text, ...); end);
	if not first then return nil, needed; end
	local left = text:sub(first);
	self.rest = { left ~= "" and left or nil, bytes = #left, needed = needed };
	return true;
end

-- Adds the next part, an <answer/> element. Returns true, or nil and the reason.
function answer_mt:add(element)
	local part, parts = tonumber(element.attr.part), tonumber(element.attr.of);
	if part ~= self.part + 1 or not parts or part > parts then return nil, "an answer whose parts are not in order"; end
	local text = decode_base64(text_of(element));
	if not text then return nil, "an answer that is not base64"; end
	self.bytes, self.part, self.parts = self.bytes + #text, part, parts;
	self.total.bytes = self.total.bytes + #text;
	if self.bytes > MAX_BYTES then return nil, "an answer that is too large"; end
	if self.total.bytes > MAX_TOTAL then return nil, "busy"; end
	return self:read(text);
end

-- Returns a table with messages, iq (its text) and state, the last two if present; or nil and the reason. The messages
-- are a list of positions, with lists of the text that each is in (texts), of its first and of its last byte there.
function answer_mt:open()
	if self.part ~= self.parts then return nil, "an answer without its last part"; end
	if self.rest.bytes > 0 then return nil, "an answer with a frame that is cut off"; end
	local opened = { messages = self.messages, iq = self.iq, close = function () self:close(); end };
	if self.state then
		local state, err = state_of(self.state.text, self.state.position);
		if not state then return nil, err; end
		opened.state = state;
	end
	return opened;
end

-- Releases the answer's bytes, once delivered or given up.
function answer_mt:close()
	self.total.bytes, self.bytes = self.total.bytes - self.bytes, 0;
end

--   total: table shared by all answers, which counts their bytes
local function new(total)
	return setmetatable({
		messages = { texts = {}, firsts = {}, lasts = {} };
		rest = { bytes = 0, needed = 0 };
		part = 0, bytes = 0, total = total;
	}, answer_mt);
end

return { new = new };
