//! The jobs that have not ended, as readers have them: by id, and by app, since a worker asks for its app's each time
//! that it looks round.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Store, unpoison};
use crate::model::{AppName, JobId, JobState};

/// All of them.
#[derive(Default)]
pub(super) struct OpenJobs {
    jobs: HashMap<JobId, Arc<JobState>>,
    of_app: HashMap<AppName, BTreeSet<JobId>>,
}

impl OpenJobs {
    pub(super) fn new(jobs: HashMap<JobId, Arc<JobState>>) -> Self {
        let mut of_app: HashMap<AppName, BTreeSet<JobId>> = HashMap::new();
        for (id, job) in &jobs {
            of_app.entry(job.app.name.clone()).or_default().insert(*id);
        }
        Self { jobs, of_app }
    }
    pub(super) fn all(&self) -> &HashMap<JobId, Arc<JobState>> {
        &self.jobs
    }
    pub(super) fn put(&mut self, job: Arc<JobState>) {
        if let Some(jobs) = self.of_app.get_mut(&job.app.name) {
            jobs.insert(job.id);
        } else {
            self.of_app.insert(job.app.name.clone(), [job.id].into());
        }
        self.jobs.insert(job.id, job);
    }
    pub(super) fn remove(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let Some(jobs) = self.of_app.get_mut(&job.app.name) else { return };
        jobs.remove(&id);
        if jobs.is_empty() {
            self.of_app.remove(&job.app.name);
        }
    }
}

impl Store {
    /// The jobs that have not ended, by id. Parked ones are among them.
    pub fn open_jobs(&self) -> Vec<Arc<JobState>> {
        let mut jobs: Vec<_> = unpoison(self.shared.jobs.read()).all().values().cloned().collect();
        jobs.sort_by_key(|j| j.id);
        jobs
    }
    /// Those of one app.
    pub fn open_jobs_of(&self, app: &AppName) -> Vec<Arc<JobState>> {
        let open = unpoison(self.shared.jobs.read());
        let ids = open.of_app.get(app).into_iter().flatten();
        ids.filter_map(|id| open.jobs.get(id).cloned()).collect()
    }
}
