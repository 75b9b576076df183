for (const gallery of document.querySelectorAll(".gallery")) {
  const slider = gallery.querySelector("input[type=range]");
  if (!slider) continue;
  const steps = slider.dataset.steps.split(" ");
  const output = gallery.querySelector("output");
  const show = () => {
    const step = steps[slider.value];
    output.textContent = "step " + step;
    slider.setAttribute("aria-valuetext", "step " + step);
    for (const frame of gallery.querySelectorAll("[data-step]")) {
      frame.classList.toggle("hidden", frame.dataset.step !== step);
    }
  };
  slider.addEventListener("input", show);
  gallery.querySelector(".slider").classList.remove("hidden");
  show();
}
