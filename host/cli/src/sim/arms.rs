//! `dormouse sim arms`: one world, forked into several arms, again and again with other seeds.
//!
//! Each replicate is a world with a seed of its own, which is run once as it is: the *base*. Every arm is forked from it before the same
//! tick, so that the arms of a replicate differ in nothing but what is done to them, and are compared pair by pair; members that
//! still ask a model the same get the answer that the base has. What is run is kept as it comes: a run that was killed goes on with
//! what is missing.

mod effects;
mod results;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgMatches, Command};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::{host, json_argument, named_files, open, places};
use crate::sources::Settings;
use dormouse::world_spec::{Announcement, Change, Deed, ProgramStep};
use dormouse::{
    AggregateValue, Bundle, Design, Experiment, Host, Record, Run, Seeds, Simulation, WorldSpec,
    text_of,
};
use effects::Comparison;
use results::{ArmRun, Results};

/// What the file says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArmsFile {
    /// The file of the world, beside this one.
    world: String,
    /// Before which tick the arms are forked.
    at: u64,
    /// How many worlds there are, each with a seed of its own.
    replicates: u32,
    /// What these seeds come from.
    #[serde(default)]
    seed: u64,
    /// What is done to the world. The first is what the others are compared with.
    arms: Vec<ArmSpec>,
    survey: Option<SurveySpec>,
}

/// What is done to the world in one arm.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArmSpec {
    name: String,
    #[serde(default)]
    set: Vec<Change>,
    #[serde(default)]
    send: Vec<Announcement>,
}

/// What members are asked at the end of each arm.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SurveySpec {
    role: String,
    /// How many: others in each replicate, and the same in all of its arms.
    members: u32,
    text: String,
    /// Which replies count: those that begin so, in whichever case.
    #[serde(default = "yes")]
    yes: String,
}

fn yes() -> String {
    "yes".to_owned()
}

pub(super) fn command() -> Command {
    Command::new("arms")
        .about("Fork a world into arms, with many seeds, and compare what is done to it")
        .arg(Arg::new("file").value_name("FILE").required(true).help("The arms, in TOML"))
        .arg(
            Arg::new("out").long("out").value_name("DIR").required(true).help(
                "Where the results go. Where there are some, the runs that are missing are run",
            ),
        )
        .arg(json_argument())
}

pub(super) async fn run(given: &ArgMatches, settings: &Settings) -> Result<ExitCode> {
    let text = |name: &str| given.get_one::<String>(name).map_or("", String::as_str);
    let (file, out) = (text("file"), Path::new(text("out")));
    let arms = fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    let arms: ArmsFile = toml::from_str(&arms).with_context(|| file.to_owned())?;
    let path = Path::new(file).parent().unwrap_or(Path::new(".")).join(&arms.world);
    let world =
        fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut world = WorldSpec::parse_toml(&world).with_context(|| path.display().to_string())?;
    let host = host(places(&world), settings).await?;
    named_files(&host, &mut world, path.parent().unwrap_or(Path::new("."))).await?;
    world.check().with_context(|| path.display().to_string())?;
    arms.check(&world).with_context(|| file.to_owned())?;
    fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    arms.claim(&world, out)?;
    let all = Arms { arms, world, host, out: out.to_owned() };
    let results = all.run().await?;
    let comparisons = all.comparisons(&results);
    let summary = results::summary(&results, &comparisons);
    fs::write(out.join("summary.json"), format!("{summary:#}\n"))?;
    if given.get_flag("json") {
        println!("{summary}");
    } else {
        print!("{}", results::told(&results, &comparisons));
    }
    all.host.shut_down().await?;
    Ok(ExitCode::SUCCESS)
}

impl ArmsFile {
    /// Whether all of it can be done to this world.
    fn check(&self, world: &WorldSpec) -> Result<()> {
        ensure!(!self.arms.is_empty(), "arms: there has to be one at least");
        ensure!(self.replicates > 0, "replicates: there has to be one at least");
        for (place, arm) in self.arms.iter().enumerate() {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            if arm.name.is_empty() || arm.name == "base" || !arm.name.bytes().all(is_name) {
                bail!(
                    "arms[{place}].name: letters and digits of ASCII, `_` and `-`, and not `base`"
                );
            }
            if self.arms.iter().take(place).any(|other| other.name == arm.name) {
                bail!("arms[{place}].name: there are two by the name `{}`", arm.name);
            }
            arm.of(world, self.at).with_context(|| format!("arms[{place}]"))?;
        }
        if let Some(survey) = &self.survey {
            let members = &world.members[world.place_of(&survey.role).context("survey")?];
            let most = members.count.min(1_000);
            ensure!(
                (1..=most).contains(&survey.members),
                "survey.members: 1 to {most} members are asked"
            );
        }
        Ok(())
    }
}

impl ArmsFile {
    /// Let the folder have the results of these arms of this world, and of no others.
    fn claim(&self, world: &WorldSpec, folder: &Path) -> Result<()> {
        // These mean nothing for the outcome.
        let world = WorldSpec { name: String::new(), budget: Default::default(), ..world.clone() };
        let own = serde_json::to_string_pretty(&(self, world))?;
        let path = folder.join("arms.json");
        if path.exists() {
            let there = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            ensure!(
                there == own,
                "{} has the results of other arms, or of another world; name another folder",
                folder.display()
            );
            return Ok(());
        }
        fs::write(&path, own).with_context(|| path.display().to_string())
    }
}

impl ArmSpec {
    /// The world, with what is done to it in this arm.
    fn of(&self, world: &WorldSpec, at: u64) -> Result<WorldSpec> {
        let mut spec = world.clone();
        let set = self.set.iter().cloned().map(Deed::Set);
        for deed in set.chain(self.send.iter().cloned().map(Deed::Send)) {
            spec.intervene(ProgramStep { at, deed }, 0)?;
        }
        Ok(spec)
    }

    fn is_base(&self) -> bool {
        self.set.is_empty() && self.send.is_empty()
    }
}

/// All that is run.
struct Arms {
    arms: ArmsFile,
    world: WorldSpec,
    host: Host,
    out: PathBuf,
}

impl Arms {
    /// Run what is missing. All of it then.
    async fn run(&self) -> Result<Results> {
        let names: Vec<String> = self.world.aggregates.iter().map(|own| own.name.clone()).collect();
        let mut results = Results::open(&self.out, names, self.arms.survey.is_some())?;
        let (arms, replicates) = (self.arms.arms.len() as u64, self.replicates()?);
        let bar = ProgressBar::new(replicates.len() as u64 * arms);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} arms  {eta} to go");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(results.runs.len() as u64);
        for replicate in replicates {
            let missing = |arm: &&ArmSpec| !results.has(&arm.name, replicate.replicate);
            let missing: Vec<&ArmSpec> = self.arms.arms.iter().filter(missing).collect();
            if missing.is_empty() {
                continue;
            }
            let (base, made) = self.base(&replicate).await?;
            if let Some(made) = made {
                results.note_base(replicate.replicate, made)?;
            }
            for arm in missing {
                let run = self.arm(arm, &replicate, &base).await;
                results.add(run.with_context(|| format!("{}, {replicate:?}", arm.name))?)?;
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        results.sort(&self.arms.arms.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>());
        Ok(results)
    }

    fn replicates(&self) -> Result<Vec<Run>> {
        let experiment = Experiment {
            parameters: Default::default(),
            design: Design::Full,
            replicates: self.arms.replicates,
            seeds: Seeds { base: self.arms.seed, paired: true },
        };
        Ok(experiment.runs()?)
    }

    /// The base of a replicate, which may have been run before; and what it has cost, where it was run now.
    async fn base(&self, run: &Run) -> Result<(Bundle, Option<ArmRun>)> {
        let path = self.out.join(format!("base-{}.bundle", run.replicate));
        if path.exists() {
            let bundle = open(&path.to_string_lossy())?;
            ensure!(bundle.spec.seed == run.seed, "{} has another seed", path.display());
            return Ok((bundle, None));
        }
        let spec = WorldSpec { seed: run.seed, ..self.world.clone() };
        let mut world = self.host.simulations().make(spec).await?;
        let record = to_its_end(&mut world).await?;
        let made = self.outcome("base", run, &mut world, &record).await?;
        let bundle = world.bundle(record).await?;
        write(&bundle, &path)?;
        Ok((bundle, Some(made)))
    }

    async fn arm(&self, arm: &ArmSpec, run: &Run, base: &Bundle) -> Result<ArmRun> {
        let at = self.arms.at;
        let spec = arm.of(&base.spec, at)?;
        let simulations = self.host.simulations();
        let mut world = simulations.make_of_bundle(base, spec, at).await?;
        let record = to_its_end(&mut world).await?;
        let shared = usize::try_from(at).unwrap_or(usize::MAX);
        let differs = base.record.hashes.iter().zip(&record.hashes).take(shared);
        if let Some(tick) = differs.into_iter().position(|(own, other)| own != other) {
            bail!("the base comes to something else in tick {tick}");
        }
        ensure!(
            !arm.is_base() || record.fingerprint == base.record.fingerprint,
            "nothing is done to it, and it comes to something else than the base"
        );
        let mut outcome = self.outcome(&arm.name, run, &mut world, &record).await?;
        if let Some(survey) = &self.arms.survey {
            let (share, cost) = surveyed(survey, run, &mut world).await?;
            outcome.survey = Some(share);
            outcome.cost_usd += cost;
        }
        if run.replicate == 0 {
            let path = self.out.join(format!("{}-0.bundle", arm.name));
            write(&world.bundle(record).await?, &path)?;
        }
        Ok(outcome)
    }

    async fn outcome(
        &self,
        arm: &str,
        run: &Run,
        world: &mut Simulation,
        record: &Record,
    ) -> Result<ArmRun> {
        let mut aggregates = vec![None; self.world.aggregates.len()];
        for AggregateValue { place, value, .. } in &record.aggregates {
            // Those of later ticks come later.
            aggregates[*place] = *value;
        }
        let calls = world.calls();
        Ok(ArmRun {
            arm: arm.to_owned(),
            replicate: run.replicate,
            seed: run.seed,
            aggregates,
            survey: None,
            calls: calls.made,
            cost_usd: calls.cost.as_usd(),
            inherited: calls.inherited,
            saved_usd: calls.saved.as_usd(),
            fingerprint: super::hex(record.fingerprint),
        })
    }

    /// What each arm does to each aggregate, and to what members say.
    fn comparisons(&self, results: &Results) -> Vec<Comparison> {
        let names: Vec<&str> = self.arms.arms.iter().map(|arm| arm.name.as_str()).collect();
        let aggregates = self.world.aggregates.iter().enumerate();
        let mut all: Vec<Comparison> = aggregates
            .map(|(place, own)| {
                Comparison::of(&own.name, &names, results, |run| run.aggregates[place])
            })
            .collect();
        if self.arms.survey.is_some() {
            all.push(Comparison::of("survey", &names, results, |run| run.survey));
        }
        all
    }
}

/// Let a world go on to its last tick.
async fn to_its_end(world: &mut Simulation) -> Result<Record> {
    let mut record = Record::default();
    while let Some(summary) = world.run(1).await?.pop() {
        record.note(&summary);
    }
    record.fingerprint = world.fingerprint().await?;
    Ok(record)
}

/// Which part of those that were asked says yes, and what that has cost, in US dollars.
async fn surveyed(survey: &SurveySpec, run: &Run, world: &mut Simulation) -> Result<(f64, f64)> {
    let role = world.spec().and_then(|spec| {
        spec.members.iter().find(|members| members.role == survey.role).map(|own| own.count)
    });
    let mut members: Vec<u32> = (0..role.unwrap_or(0)).collect();
    members.sort_by_key(|member| mixed(run.seed ^ u64::from(*member).rotate_left(32)));
    members.truncate(survey.members as usize);
    let question = vec![dormouse::Part::Text(survey.text.clone())];
    let asked = world.survey(&survey.role, &members, question).await?;
    let mut says_yes = 0_u32;
    for (member, reply) in members.iter().zip(&asked.replies) {
        let reply = reply.as_ref();
        let reply = reply.map_err(|error| anyhow::anyhow!("survey: member {member}: {error}"))?;
        let text = text_of(reply).trim().to_lowercase();
        says_yes += u32::from(text.starts_with(&survey.yes.to_lowercase()));
    }
    Ok((f64::from(says_yes) / f64::from(survey.members), asked.cost.as_usd()))
}

/// The finalizer of SplitMix64: an order in which no member is preferred.
fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Write a bundle as a whole, or not at all.
fn write(bundle: &Bundle, path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    let file = File::create(&part).with_context(|| part.display().to_string())?;
    bundle.write(std::io::BufWriter::new(file))?;
    fs::rename(&part, path).with_context(|| path.display().to_string())
}
