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

-- Adds the next part, an <answer/> element. Returns true, or nil and the reason.
function answer_mt:add(element)
	local part, parts = tonumber(element.attr.part), tonumber(element.attr.of);
	if part ~= #self.texts + 1 or not parts or part > parts then return nil, "an answer whose parts are not in order"; end
	local text = decode_base64(element:get_text() or "");
	if not text then return nil, "an answer that is not base64"; end
	self.bytes, self.parts = self.bytes + #text, parts;
	self.total.bytes = self.total.bytes + #text;
	if self.bytes > MAX_BYTES then return nil, "an answer that is too large"; end
	if self.total.bytes > MAX_TOTAL then return nil, "busy"; end
	self.texts[part] = text;
	return true;
end

local function state_of(frame)
	local state = decode_json(frame.content);
	if type(state) ~= "table" then return nil, "an answer with a state that is not JSON"; end
	state.position = frame.position;
	return state;
end

-- Returns a table with messages (frames), iq (its text) and state, the last two if present; or nil and the reason.
function answer_mt:open()
	if not self.parts or #self.texts ~= self.parts then return nil, "an answer without its last part"; end
	local list, err = frames.read(table.concat(self.texts));
	if not list then return nil, err; end
	local opened = { messages = {}, close = function () self:close(); end };
	self.texts = {};
	for _, frame in ipairs(list) do
		if frame.kind == "message" then
			table.insert(opened.messages, frame);
		elseif frame.kind == "iq" then
			opened.iq = frame.content;
		elseif frame.kind == "state" then
			opened.state, err = state_of(frame);
			if err then return nil, err; end
		end
	end
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
