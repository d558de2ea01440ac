-- The health of a DarwinMerge, for Argo CD: how the run is, not only whether it was taken on.
--   Healthy      it is complete, whatever the verdict
--   Progressing  it runs; or its operator hasn't looked at what was last applied
--   Suspended    a person (spec.cluster.suspend) or a queue without room holds it back
--   Degraded     it has failed for good, or waits for a person; the message says what helps
-- Argo CD runs this in Lua 5.1 without its libraries: nothing but the language itself may be used here.

local function progressing(message)
  return {status = "Progressing", message = message}
end

local status = obj.status
if status == nil or status.conditions == nil then
  return progressing("no operator has looked at it yet")
end
if status.observedGeneration == nil or status.observedGeneration < obj.metadata.generation then
  return progressing("its operator hasn't looked at the last change yet")
end

local holds = {}
for _, condition in ipairs(status.conditions) do
  if condition.status == "True" then
    holds[condition.type] = condition
  end
end

-- The first that holds decides: what is final, what a person must see, what waits by intent.
local verdicts = {
  {"Complete", "Healthy"}, {"Failed", "Degraded"}, {"Stalled", "Degraded"}, {"Suspended", "Suspended"},
}
for _, verdict in ipairs(verdicts) do
  local condition = holds[verdict[1]]
  if condition ~= nil then
    return {status = verdict[2], message = condition.reason .. ": " .. (condition.message or "")}
  end
end

local message = status.phase or ""
local shown = status.shown
if shown ~= nil and shown.evals ~= nil and shown.evals ~= "" then
  message = message .. ", " .. shown.evals .. " candidates"
end
return progressing(message)
