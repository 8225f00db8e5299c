// Run an agent of Microsoft Agent Framework in the background: poll it, then stream another and resume it.
// BASE, KEY and, if you like, MODEL come from the environment. Not compiled here: this is the shape of Microsoft's own
// sample of background responses, with a base URL and a key.

using System.ClientModel;
using System.ClientModel.Primitives;
using Microsoft.Agents.AI;
using OpenAI;
using OpenAI.Responses;

string baseUrl = Environment.GetEnvironmentVariable("BASE") ?? throw new InvalidOperationException("BASE is not set.");
string key = Environment.GetEnvironmentVariable("KEY") ?? throw new InvalidOperationException("KEY is not set.");
string model = Environment.GetEnvironmentVariable("MODEL") ?? "sim-5s";

// The client's default policy waits only where an answer has a Retry-After, as every temporary error of the service
// has. A lost connection has none, so choose a policy that waits. No policy repeats the empty 404 with which the platform
// answers while it starts: start the run again.
OpenAIClientOptions service = new() { Endpoint = new Uri(baseUrl), RetryPolicy = new ClientRetryPolicy(3) };
AIAgent agent = new OpenAIClient(new ApiKeyCredential(key), service)
    .GetResponsesClient()
    .AsAIAgent(model: model, instructions: "You are a helpful assistant.");

// Poll.
AgentRunOptions options = new() { AllowBackgroundResponses = true };
AgentSession session = await agent.CreateSessionAsync();
AgentResponse response = await agent.RunAsync("Why do long calls break?", session, options);

while (response.ContinuationToken is { } token)
{
    await Task.Delay(TimeSpan.FromSeconds(2));
    options.ContinuationToken = token;
    response = await agent.RunAsync(session, options);
}

Console.WriteLine(response.Text);

// Stream, lose the connection after the first text, and resume after the last update. As long as it has a token, it
// has not ended.
options = new() { AllowBackgroundResponses = true };
session = await agent.CreateSessionAsync();
AgentResponseUpdate? last = null;

await foreach (AgentResponseUpdate update in agent.RunStreamingAsync("Why do long calls break?", session, options))
{
    Console.Write(update.Text);
    last = update;
    if (update.Text.Length > 0)
    {
        break;
    }
}

while (last?.ContinuationToken is { } token)
{
    options.ContinuationToken = token;
    await foreach (AgentResponseUpdate update in agent.RunStreamingAsync(session, options))
    {
        Console.Write(update.Text);
        last = update;
    }
}
