//! The reference: Candle's quantized Phi-3 on token ids, so that forward pass and sampling alone are compared.
//!
//! `phi-candle generate` and `phi-candle measure` each read one JSON object on standard input and write one on standard
//! output. Tokenizer and chat template are left to the caller.

use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use candle_transformers::models::quantized_phi3::ModelWeights;
use candle_transformers::utils::apply_repeat_penalty;
use serde::{Deserialize, Serialize};

/// Greedy answers to prompts, gone on with whatever ends an answer.
#[derive(Deserialize)]
struct Generate {
    model: String,
    prompts: Vec<Vec<u32>>,
    tokens: usize,
    repeat_penalty: f32,
    repeat_last_n: usize,
}

/// The tokens that were generated; `margins` are how far the chosen token's logit was above the next one's at each
/// step, penalty applied.
#[derive(Serialize)]
struct Answer {
    tokens: Vec<u32>,
    margins: Vec<f32>,
}

/// Speed at prompts of several lengths; a length that would take longer than what is left of `limit` seconds is left out.
#[derive(Deserialize)]
struct Measure {
    model: String,
    prefill: Vec<usize>,
    decode: Vec<usize>,
    tokens: usize,
    first: usize,
    limit: f64,
}

/// Seconds, tokens per second by length, bytes.
#[derive(Serialize)]
struct Measured {
    first_token: f64,
    prefill: std::collections::BTreeMap<usize, f64>,
    decode: std::collections::BTreeMap<usize, f64>,
    resident: u64,
    peak: u64,
}

fn main() -> Result<()> {
    let input = std::io::read_to_string(std::io::stdin())?;
    let output = match std::env::args().nth(1).as_deref() {
        Some("generate") => serde_json::to_string(&generate(serde_json::from_str(&input)?)?)?,
        Some("measure") => serde_json::to_string(&measure(serde_json::from_str(&input)?)?)?,
        _ => bail!("phi-candle generate | measure, with JSON on standard input"),
    };
    println!("{output}");
    Ok(())
}

fn load(path: &str) -> Result<ModelWeights> {
    let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let mut file = BufReader::new(file);
    let content = gguf_file::Content::read(&mut file)?;
    Ok(ModelWeights::from_gguf(false, content, &mut file, &Device::Cpu)?)
}

/// Logits after the last of `tokens`, which come after `position` others.
fn forward(model: &mut ModelWeights, tokens: &[u32], position: usize) -> Result<Tensor> {
    let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
    Ok(model.forward(&input, position)?.squeeze(0)?)
}

fn generate(job: Generate) -> Result<Vec<Answer>> {
    let mut model = load(&job.model)?;
    let mut processor = LogitsProcessor::from_sampling(0, Sampling::ArgMax);
    let mut answers = Vec::new();
    for prompt in &job.prompts {
        let mut answer = Answer { tokens: Vec::new(), margins: Vec::new() };
        let mut logits = forward(&mut model, prompt, 0)?;
        while answer.tokens.len() < job.tokens {
            let since = answer.tokens.len().saturating_sub(job.repeat_last_n);
            logits = apply_repeat_penalty(&logits, job.repeat_penalty, &answer.tokens[since..])?;
            let token = processor.sample(&logits)?;
            answer.margins.push(margin(&logits.to_vec1::<f32>()?, token));
            let position = prompt.len() + answer.tokens.len();
            answer.tokens.push(token);
            logits = forward(&mut model, &[token], position)?;
        }
        answers.push(answer);
    }
    Ok(answers)
}

fn margin(logits: &[f32], token: u32) -> f32 {
    let others = logits.iter().enumerate().filter(|(id, _)| *id != token as usize);
    logits[token as usize] - others.map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max)
}

fn measure(job: Measure) -> Result<Measured> {
    let started = Instant::now();
    let weights = load(&job.model)?;
    let mut model = weights.clone(); // shares the weights; older releases never empty a model's cache
    let mut processor = LogitsProcessor::from_sampling(1, Sampling::TopP { p: 0.95, temperature: 0.8 });
    let mut draw = |logits: &Tensor| -> Result<u32> { Ok(processor.sample(logits)?) };
    draw(&forward(&mut model, &vec![278u32; job.first], 0)?)?;
    let first_token = started.elapsed().as_secs_f64();

    let mut measured = Measured {
        first_token,
        prefill: Default::default(),
        decode: Default::default(),
        resident: 0,
        peak: 0,
    };
    let mut lengths = [job.prefill.clone(), job.decode.clone()].concat();
    lengths.sort_unstable();
    lengths.dedup();
    let measuring = Instant::now();
    let mut slowest = 0.0; // seconds a token
    for length in lengths {
        if measuring.elapsed().as_secs_f64() + slowest * length as f64 > job.limit {
            break;
        }
        model = weights.clone();
        let start = Instant::now();
        let mut token = draw(&forward(&mut model, &vec![278u32; length], 0)?)?;
        let seconds = start.elapsed().as_secs_f64();
        slowest = seconds / length as f64;
        if job.prefill.contains(&length) {
            measured.prefill.insert(length, length as f64 / seconds);
        }
        if job.decode.contains(&length) {
            let start = Instant::now();
            for index in 0..job.tokens {
                token = draw(&forward(&mut model, &[token], length + index)?)?;
            }
            measured.decode.insert(length, job.tokens as f64 / start.elapsed().as_secs_f64());
        }
    }
    measured.resident = memory("VmRSS:")?;
    measured.peak = memory("VmHWM:")?;
    Ok(measured)
}

/// Bytes, from what Linux tells of this process; 0 elsewhere.
fn memory(field: &str) -> Result<u64> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Ok(0);
    };
    let line = status.lines().find(|line| line.starts_with(field)).context("no memory in /proc/self/status")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("no number in /proc/self/status")?.parse()?;
    Ok(kilobytes * 1024)
}
