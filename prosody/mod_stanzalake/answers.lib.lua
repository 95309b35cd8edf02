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

-- Adds the next part, an <answer/> element. Returns true, or nil and the reason.
function answer_mt:add(element)
	local part, parts = tonumber(element.attr.part), tonumber(element.attr.of);
	if part ~= #self.texts + 1 or not parts or part > parts then return nil, "an answer whose parts are not in order"; end
	local text = decode_base64(text_of(element));
	if not text then return nil, "an answer that is not base64"; end
	self.bytes, self.parts = self.bytes + #text, parts;
	self.total.bytes = self.total.bytes + #text;
	if self.bytes > MAX_BYTES then return nil, "an answer that is too large"; end
	if self.total.bytes > MAX_TOTAL then return nil, "busy"; end
	self.texts[part] = text;
	return true;
end

-- Returns the whole text. What one part has is not copied: bytes that are left behind cost the collector's time.
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

-- Returns a table with messages, iq (its text) and state, the last two if present; or nil and the reason. The messages
-- are a list of positions, with the text and lists of the first and last byte in it of each (firsts, lasts).
function answer_mt:open()
	if not self.parts or #self.texts ~= self.parts then return nil, "an answer without its last part"; end
	local text, state, state_position = join(self.texts), nil, nil;
	local messages = { text = text, firsts = {}, lasts = {} };
	local opened = { messages = messages, close = function () self:close(); end };
	self.texts = {};
	local ok, err = frames.read(text, function (kind, position, first, last)
		if kind == "message" then
			local number = #messages + 1;
			messages[number], messages.firsts[number], messages.lasts[number] = position, first, last;
		elseif kind == "iq" then
			opened.iq = text:sub(first, last);
		elseif kind == "state" then
			state, state_position = text:sub(first, last), position;
		end
	end);
	if ok and state then
		opened.state, err = state_of(state, state_position);
	end
	if err then return nil, err; end
	return opened;
end

-- Releases the answer's bytes, once delivered or given up.
function answer_mt:close()
	self.total.bytes, self.bytes = self.total.bytes - self.bytes, 0;
end

--   total: table shared by all answers, which counts their bytes
local function new(total)
	return setmetatable({ texts = {}, bytes = 0, total = total }, answer_mt);
end

return { new = new };
