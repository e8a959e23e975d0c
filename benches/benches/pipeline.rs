//! What a decision costs: stages 0 to 7 on realistic calls, and the parts that weigh most.

use std::hint::black_box;

use aegis_benches::world::{CALLS, World};
use aegis_core::tool_call::ToolCall;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for (name, body) in CALLS {
        group.bench_function(name, |b| b.iter(|| ToolCall::parse(black_box(body.as_bytes()), None)));
    }
    group.finish();
}

fn decide(c: &mut Criterion) {
    let world = World::new();
    let mut group = c.benchmark_group("decide");
    for (name, body) in CALLS {
        let mut turn = 0_u64;
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    // Each call differs from the one before, or it would be measured as a loop.
                    turn += 1;
                    world.tick();
                    let body = body.replace(r#""payload":{"#, &format!(r#""payload":{{"turn":{turn},"#));
                    (world.request(), ToolCall::parse(body.as_bytes(), None).expect("a call"), world.tool())
                },
                |(request, call, tool)| {
                    let pipeline = world.pipeline();
                    let admitted = pipeline.admit(&request).map_err(drop).expect("admitted");
                    let metered = pipeline.limit(admitted, call, tool).map_err(drop).expect("within limits");
                    let judged = pipeline.judge(metered);
                    black_box(pipeline.enforce(judged).is_ok())
                },
                // One at a time: the clock moves between calls.
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn admit(c: &mut Criterion) {
    let world = World::new();
    let request = world.request();
    c.bench_function("admit/api_key", |b| b.iter(|| world.pipeline().admit(black_box(&request)).is_ok()));
}

criterion_group!(benches, parse, admit, decide);
criterion_main!(benches);
