-- The verdict: whether the processor will keep an eligible message, foretold when it is stamped.
--
-- The same rules as processor/policy.py and stanzalake/xmpp/stanza.py; tests/support/verdicts.json holds both to them.

-- Whether an element is left once those of the excluded namespaces are removed.
local function has_remainder(stanza, excluded)
	local children = stanza.tags;
	for i = 1, #children do
		if not excluded[children[i].attr.xmlns or "jabber:client"] then return true; end
	end
	return false;
end

local function keeps(policy, contact)
	return policy == "always" or policy == "roster" and contact;
end

-- The full JID before the bare one, never before always (XEP-0441 §2.3).
local function keeps_by_choice(state, peer, full, contact)
	local always, never = state.always, state.never;
	if never[full] then return false; end
	if always[full] then return true; end
	if never[peer] then return false; end
	return always[peer] or keeps(state.default, contact);
end

-- Gives "yes", "no", or "unknown".
--   stanza: an eligible message
--   peer, full: the other party's bare JID, and its JID as it is on the stanza
--   contact: whether the peer is in the owner's roster
--   state: of the owner's archive; nil if it is not known
--     activated: whether the owner ever asked for the archive or chose
--     default, always, never: the owner's preferences, with sets of JIDs; nil without any
--   server: smart (boolean), policy ("always", "never", "roster"), excluded (set of namespaces)
local function verdict(stanza, peer, full, contact, state, server)
	if not has_remainder(stanza, server.excluded) then return "no"; end
	if not state then return "unknown"; end
	if server.smart and not state.activated then return "no"; end
	local kept;
	if state.default then
		kept = keeps_by_choice(state, peer, full, contact);
	else
		kept = keeps(server.policy, contact);
	end
	return kept and "yes" or "no";
end

return { verdict = verdict, has_remainder = has_remainder };
