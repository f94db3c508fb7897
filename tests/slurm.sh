#!/usr/bin/env bash
# A real SLURM of two nodes on this machine, for tests/batch/test_slurm.py: tests/slurm.sh start | stop. Needs root and
# Debian's packages (apt-get install munge slurmctld slurmd slurm-client), and replaces /etc/slurm/slurm.conf.
set -euo pipefail
host=$(hostname) home=${SLURM_HOME:-/var/tmp/eln-kit-slurm}
start() {
  mkdir -p /etc/slurm /run/munge "$home"/{ctld,n1,n2}
  [ -f /etc/munge/munge.key ] || dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key status=none
  chown -R munge:munge /etc/munge /run/munge && chmod 400 /etc/munge/munge.key
  cat >/etc/slurm/slurm.conf <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
StateSaveLocation=$home/ctld
SlurmdSpoolDir=$home/%n
SlurmctldPidFile=$home/ctld.pid
SlurmdPidFile=$home/%n.pid
SlurmctldLogFile=$home/ctld.log
SlurmdLogFile=$home/%n.log
SlurmUser=root
ReturnToService=2
KillWait=60
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=DEFAULT RealMemory=$(awk '/MemTotal/{print int($2/1024*0.4)}' /proc/meminfo) State=UNKNOWN
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001 CPUs=$((($(nproc) + 1) / 2))
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17002 CPUs=$((($(nproc) + 1) / 2))
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged
  slurmctld && sleep 2 && slurmd -N n1 && slurmd -N n2
  for _ in $(seq 20); do [ "$(sinfo -h -t idle -o %D)" = 2 ] && { sinfo; return; }; sleep 1; done
  echo "SLURM did not come up; see $home/*.log" >&2; exit 1
}
stop() {
  timeout 5 squeue -h -o %i | xargs -r scancel --full --signal=KILL && sleep 2 || true  # else the daemons wait for jobs
  for file in "$home"/{n1,n2,ctld}.pid; do [ ! -f "$file" ] || kill "$(cat "$file")" || true; done
  pid=$(pgrep -x munged || true); [ -z "$pid" ] || kill "$pid"
}
"$@"
